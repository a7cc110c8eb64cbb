"""Several processes and devices: rank, world, data parallelism, launching.

Names are loaded when they are first used: finding out the rank of a process imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchloupe.distributed.parallel import Parallel, make_parallel
    from torchloupe.distributed.rank import Rank, find_rank
    from torchloupe.distributed.world import World, join

_PLACES = {
    "Parallel": "parallel",
    "Rank": "rank",
    "World": "world",
    "find_rank": "rank",
    "join": "world",
    "make_parallel": "parallel",
}

__all__ = ["Parallel", "Rank", "World", "find_rank", "join", "make_parallel"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'torchloupe.distributed' has no attribute {name!r}")
    return getattr(import_module(f"torchloupe.distributed.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
