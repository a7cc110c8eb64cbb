"""Begin a run or go on with it: one command that torchrun, Slurm and Kubernetes may start again."""

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchloupe.distributed.meeting import meet, open_store
from torchloupe.distributed.rank import find_rank
from torchloupe.errors import ResourceError, printable


def has_begun(folder: Path) -> bool:
    """Whether the run in `folder` has begun, as rank 0 sees it; every rank must call this.

    Raises ResourceError on every rank if another host has a run there and that of rank 0 has none:
    it would be begun again.
    """
    here = (folder / "config.json").is_file()
    launched = find_rank()
    if launched is None or launched.size == 1:
        return here
    _, found = meet(launched, open_store(), [here, socket.gethostname()], decide)
    if isinstance(found, str):
        raise ResourceError(
            f"rank 0 has no run in {printable(folder)}, but {printable(found)} has one",
            "give an --out on a file system that all hosts share, or start with that host first",
        )
    return bool(found)


def decide(words: Sequence[Any]) -> bool | str:
    """Whether rank 0 has the run; or the name of a host that has one in its stead."""
    if words[0][0]:
        return True
    return next((str(host) for here, host in words if here), False)
