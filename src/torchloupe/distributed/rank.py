"""Which of several ranks this process is, as the one who started it says."""

import os
from dataclasses import dataclass

from torchloupe.errors import UsageError, printable


@dataclass(frozen=True)
class Rank:
    """Which of the ranks this process was started as."""

    rank: int
    size: int
    local_rank: int  # among those of this machine; the number of its GPU
    local_size: int


def find_rank() -> Rank | None:
    """The rank in torchrun's environment variables; None if torchrun did not start this process."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    values = [os.environ.get(name) for name in names]
    if values[0] is None or values[1] is None or "MASTER_ADDR" not in os.environ:
        return None
    try:
        rank, size = int(values[0]), int(values[1])
        return Rank(rank, size, int(values[2] or rank), int(values[3] or size))
    except ValueError:
        raise UsageError(
            f"RANK={printable(values[0])} and WORLD_SIZE={printable(values[1])} are not numbers",
            "start ranks with torchrun, or unset both",
        ) from None
