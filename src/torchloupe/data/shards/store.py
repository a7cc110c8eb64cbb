"""A bounded cache of whole shards on this machine: fetched ahead, verified, and let go.

Whoever reads says which shards it needs next, in order, and when it needs none any more. The first
of them that fit are kept; once nobody needs any, nothing is fetched. A shard is there only once its
size and SHA-256 are those of the index. Several ranks of a machine share one folder; each shard
is fetched by one of them.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from torchloupe.data.shards.cellar import Cellar, UnwantedError
from torchloupe.data.shards.index import Shard
from torchloupe.data.shards.network import Network, open_network
from torchloupe.errors import LoupeError, ResourceError, printable

FETCHERS = 4  # shards that are fetched at a time
TOUCH_SECONDS = 5.0  # how often shards in use are marked as used
START_PATIENCE_SECONDS = 0.4  # for shards, at the start of a run
HURRY_SECONDS = 5.0  # for so long a run is starting
PATIENCE_SECONDS = 5.0  # for a shard, later


class ShardStore:
    """The shards of one set that are on this machine. Safe to use from several threads."""

    def __init__(
        self, shards: Sequence[Shard], addresses: Sequence[str], folder: Path, limit_bytes: int
    ) -> None:
        """`limit_bytes` is what this process may keep; `folder` is shared by all sets and ranks."""
        self.limit_bytes = limit_bytes
        self.fetched = 0
        self.late = 0  # times that a shard was needed before it was here
        self.mean_bytes = sum(shard.bytes for shard in shards) / max(1, len(shards))
        self._shards = tuple(shards)
        self._addresses = tuple(addresses)
        self.network: Network = open_network(addresses[0])
        self._cellar = Cellar(folder)
        self._condition = threading.Condition()
        self._asked: dict[object, tuple[int, ...]] = {}  # by each reader, the latest one last
        self._wanted: dict[int, float] = {}  # and since when
        self._began = float("inf")
        self._here: dict[int, Path] = {}
        self._busy: set[int] = set()
        self._failed: dict[int, LoupeError] = {}
        self._threads: list[threading.Thread] = []
        self._touched = 0.0

    def bytes_of(self, number: int) -> int:
        """How large a shard is."""
        return self._shards[number].bytes

    def want(self, numbers: Sequence[int], reader: object = None) -> None:
        """Fetch the shards with these numbers, the first ones first, for `reader`.

        They replace what it wanted before, and go before those of others until it is done
        (`leave`). As many are kept as fit; images of the rest are read one by one.
        """
        with self._condition:
            self._asked.pop(reader, None)
            self._asked[reader] = tuple(numbers)
        self._choose()

    def leave(self, reader: object = None) -> None:
        """`reader` needs no shard any more. What is here stays for the next run."""
        with self._condition:
            was_there = self._asked.pop(reader, None) is not None
        if was_there:
            self._choose()

    def _choose(self) -> None:
        """Keep what is wanted now, as far as it fits, and let the rest go."""
        with self._condition:
            asked = [number for one in reversed(list(self._asked.values())) for number in one]
            kept = first_fitting(asked, self._shards, self.limit_bytes)
            now = time.monotonic()
            is_new = set(kept) != set(self._wanted) or now - self._touched >= TOUCH_SECONDS
            self._began = min(self._began, now)
            self._wanted = {number: self._wanted.get(number, now) for number in kept}
            if set(kept) - set(self._here):
                self._start_fetchers()
            self._condition.notify_all()
        if is_new:
            self._tidy()

    def find(self, number: int) -> Path | None:
        """The file of a shard if it is here, or will be very soon; else None.

        At the start of a run nothing is here, and images are rather fetched by themselves. Later
        a shard that is on its way is waited for. Raises the error with which fetching it failed.
        """
        if (path := self._here.get(number)) is not None:
            return path  # without the lock, for which decoding threads would wait at each image
        with self._condition:
            is_late = False
            deadline = self._wanted.get(number, 0.0) + START_PATIENCE_SECONDS
            if time.monotonic() - self._began > HURRY_SECONDS:
                deadline = time.monotonic() + PATIENCE_SECONDS
            while number not in self._here:
                if number in self._failed:
                    raise self._failed[number]
                if not is_late:
                    is_late, self.late = True, self.late + 1
                left = deadline - time.monotonic()
                if left <= 0 or (number not in self._wanted and number not in self._busy):
                    return self._find_kept(number)
                self._condition.wait(left)
            return self._here[number]

    def _find_kept(self, number: int) -> Path | None:
        """The file of a shard that nobody asked for, where it is still here from before."""
        path = self._cellar.find(self._shards[number], self._addresses[number])
        if path is not None:
            self._here[number] = path
        return path

    def fetch(self, number: int) -> Path:
        """The file of a shard, fetched now if it is not here."""
        with self._condition:
            self._failed.pop(number, None)
        path = self._fetch(number)
        with self._condition:
            self._here[number] = path
            own = set(self._here.values())
            keep = {path, *(self.path(n) for n in (*self._wanted, *self._busy))}
            self._condition.notify_all()
        self._cellar.make_room(keep, own, self.limit_bytes)
        return path

    def here(self) -> list[int]:
        """The numbers of the shards that are on this machine."""
        with self._condition:
            return list(self._here)

    def wait(self, number: int) -> Path:
        """The file of a shard, as soon as it is here; fetched now if it is not on its way."""
        with self._condition:
            while number in self._busy:
                self._condition.wait(1.0)
        return self.fetch(number)

    def forget(self, number: int) -> None:
        """A shard is not here any more, or not sound: remove it, and fetch it again if wanted."""
        with self._condition:
            path = self._here.pop(number, None)
            if path is None:
                return
            path.unlink(missing_ok=True)
            if number in self._wanted:
                self._start_fetchers()
                self._condition.notify_all()

    def address(self, number: int) -> str:
        """Where a shard comes from."""
        return self._addresses[number]

    def path(self, number: int) -> Path:
        """Where a shard lies on this machine, once it is fetched."""
        return self._cellar.path(self._shards[number], self._addresses[number])

    def _start_fetchers(self) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        while len(self._threads) < FETCHERS:
            thread = threading.Thread(target=self._work, daemon=True, name="shards")
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        """Fetch wanted shards, in their order, until none is missing."""
        while True:
            with self._condition:
                number = self._next()
                if number is None:
                    return
                self._busy.add(number)
            path: Path | None = None
            failure: LoupeError | None = None
            try:
                path = self._fetch(number, lambda: not self._asked)
            except BaseException as error:
                failure = explain(error, self._addresses[number])
            with self._condition:
                self._busy.discard(number)
                if path is not None:
                    self._here[number] = path
                elif failure is not None:
                    self._failed[number] = failure
                self._condition.notify_all()

    def _next(self) -> int | None:
        begun = {*self._here, *self._busy, *self._failed}
        return next((number for number in self._wanted if number not in begun), None)

    def _fetch(self, number: int, is_over: Callable[[], bool] = lambda: False) -> Path:
        """Fetch a shard, or find it fetched by another process or run.

        UnwantedError once `is_over()`.
        """
        path, is_new = self._cellar.fetch(
            self._shards[number], self._addresses[number], self.network, is_over
        )
        if is_new:
            with self._condition:
                self.fetched += 1
        return path

    def _tidy(self) -> None:
        """Remove what is not wanted, as far as room is needed; mark what is as used."""
        self._touched = time.monotonic()
        with self._condition:
            paths = {number: self.path(number) for number in (*self._wanted, *self._busy)}
            own = {path for number, path in self._here.items() if number not in paths}
            missing = sum(self._shards[n].bytes for n in self._wanted if n not in self._here)
        room = max(0, self.limit_bytes - missing)
        removed = self._cellar.make_room(set(paths.values()), own, room)
        with self._condition:
            self._here = {k: path for k, path in self._here.items() if path not in removed}
        for path in paths.values():
            with suppress(OSError):
                os.utime(path)


def first_fitting(numbers: Sequence[int], shards: Sequence[Shard], limit_bytes: int) -> list[int]:
    """The first of `numbers`, each once, that take no more than `limit_bytes` together."""
    kept = []
    for number in dict.fromkeys(numbers):
        limit_bytes -= shards[number].bytes
        if limit_bytes < 0:
            break
        kept.append(number)
    return kept


def explain(error: BaseException, address: str) -> LoupeError | None:
    """What whoever needs the shard is told; None if it is fetched when it is wanted again."""
    if isinstance(error, UnwantedError):
        return None
    if isinstance(error, LoupeError):
        return error
    return ResourceError(
        f"{printable(address)} can't be fetched: {printable(error)}",
        "see whether the cache folder can be written to",
    )
