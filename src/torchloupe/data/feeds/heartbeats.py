"""Heartbeats of worker processes: how many items each has read, and which it is reading.

They are counters in shared memory; reading and writing them never blocks.
"""

from collections.abc import Iterator
from multiprocessing.sharedctypes import RawArray
from typing import Any

from torch.utils.data import get_worker_info

from torchloupe.errors import ResourceError

HUNG_SECONDS = 25.0  # without a new item from any worker, after which they count as hung
STARTING_SECONDS = 100.0  # the same before the first item: a new process imports libraries first
POLL_SECONDS = 5.0  # between two checks; also how soon a dead worker is noticed
_NOTHING = -1


class Heartbeats:
    """The workers' side: `reads` before each item, `rests` after each batch."""

    def __init__(self, workers: int) -> None:
        self._counts = RawArray("q", workers)
        self._rows = RawArray("q", [_NOTHING] * workers)

    def reads(self, row: int) -> None:
        """This worker begins to read a row."""
        worker = get_worker_info()
        if worker is not None:
            self._counts[worker.id] += 1
            self._rows[worker.id] = row

    def rests(self) -> None:
        """This worker reads nothing now."""
        worker = get_worker_info()
        if worker is not None:
            self._rows[worker.id] = _NOTHING

    @property
    def count(self) -> int:
        """How many items all workers have begun."""
        return sum(self._counts)

    def rows_being_read(self) -> list[int]:
        """The rows that workers are at."""
        return [row for row in self._rows if row != _NOTHING]


def watch_workers(batches: Iterator[Any], heartbeats: Heartbeats) -> Iterator[Any]:
    """Yields the batches of a DataLoader whose timeout is POLL_SECONDS.

    Waits for slow workers. Raises ResourceError if none has begun an item for HUNG_SECONDS, or
    none at all within STARTING_SECONDS.
    """
    known, idle_seconds = -1, 0.0
    while True:
        try:
            items = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            if not str(error).startswith("DataLoader timed out"):
                raise
            # Counted, not read from a clock: a process that was suspended is not one that hangs.
            idle_seconds = POLL_SECONDS + (idle_seconds if heartbeats.count == known else 0.0)
            known = heartbeats.count
            if idle_seconds >= (HUNG_SECONDS if known else STARTING_SECONDS):
                raise _hung(heartbeats, idle_seconds) from None
            continue
        yield items
        known, idle_seconds = -1, 0.0


def _hung(heartbeats: Heartbeats, seconds: float) -> ResourceError:
    rows = heartbeats.rows_being_read()
    what = f"row{'s' * (len(rows) > 1)} {', '.join(map(str, rows[:5]))}" if rows else "nothing yet"
    return ResourceError(
        f"a worker process of the Dataset hangs: for {seconds:.0f} s no item has come; "
        f"being read: {what}",
        "give --set data.workers=0 to see what it does there",
    )
