"""The folder of whole shards on this machine: fetched and verified there, and removed for room.

Several sets, runs and ranks share it; each shard is fetched by one process, under a lock.
"""

import hashlib
import os
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from torchloupe.data.shards.index import Shard
from torchloupe.data.shards.network import Network
from torchloupe.errors import DataError, ResourceError, printable
from torchloupe.system.counter_rng import make_key
from torchloupe.system.files import disk_error
from torchloupe.units import format_bytes

PIECE_BYTES = 8 * 2**20  # of one request
AGED_SECONDS = 60.0  # unused for so long, another process's shard may be removed
SPARE_BYTES = 2 * 10**9  # of the disk that stay free


class UnwantedError(ResourceError):
    """A shard whose fetching was ended, since nobody needs it any more."""


class Cellar:
    """Whole shards in one folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def path(self, shard: Shard, address: str) -> Path:
        """Where a shard lies, once it is fetched."""
        return self.folder / f"{make_key(address):016x}-{shard.bytes}.tar"

    def find(self, shard: Shard, address: str) -> Path | None:
        """A shard's file, if it is there."""
        path = self.path(shard, address)
        if not _is_whole(path, shard):
            return None
        with suppress(OSError):
            os.utime(path)
        return path

    def fetch(
        self, shard: Shard, address: str, network: Network, is_over: Callable[[], bool]
    ) -> tuple[Path, bool]:
        """A shard's file, and whether it was fetched now; another process may have done it.

        DataError for one that is not what the index says; UnwantedError once `is_over()`.
        """
        path = self.path(shard, address)
        if self.find(shard, address) is not None:
            return path, False
        lock = FileLock(path.with_suffix(".lock"))
        while True:
            try:
                lock.acquire(timeout=1.0)
                break
            except Timeout:
                if _is_whole(path, shard):
                    return path, False
                if is_over():
                    raise UnwantedError(f"{printable(address)} is no longer wanted", "") from None
        try:
            if _is_whole(path, shard):
                return path, False
            _download(shard, address, network, path, is_over)
            return path, True
        finally:
            lock.release()
            with suppress(OSError):
                path.with_suffix(".lock").unlink()

    def make_room(
        self, keep: Collection[Path], own: Collection[Path], limit_bytes: int
    ) -> set[Path]:
        """Remove the least used files until no more than `limit_bytes` are held; those removed.

        Not those in `keep`, nor what other processes used lately; those in `own` are ours.
        """
        files = list_shards(self.folder)
        total, removed = sum(size for _, size, _ in files), set()
        now = time.time()
        for path, size, used in sorted(files, key=lambda file: file[2]):
            if total <= limit_bytes:
                break
            if path in keep or (path not in own and now - used < AGED_SECONDS):
                continue
            with suppress(OSError):
                path.unlink()
            removed.add(path)
            total -= size
        return removed


def _download(
    shard: Shard, address: str, network: Network, path: Path, is_over: Callable[[], bool]
) -> None:
    part = path.with_suffix(".part")
    digest = hashlib.sha256()
    try:
        with part.open("wb") as file:
            for start in range(0, shard.bytes, PIECE_BYTES):
                if is_over():
                    raise UnwantedError(f"{printable(address)} is no longer wanted", "")
                piece = network.read(address, start, min(start + PIECE_BYTES, shard.bytes))
                digest.update(piece)
                file.write(piece)
        if shard.sha256 and digest.hexdigest() != shard.sha256:
            raise changed(address, "its SHA-256 is not that of the index")
        part.replace(path)
    except OSError as error:
        raise disk_error(error, path, shard.bytes) from None
    finally:
        part.unlink(missing_ok=True)


def changed(address: str, how: str) -> DataError:
    """The error for a shard that is not what the index says."""
    return DataError(
        f"the shard {printable(address)} changed since its index was written: {how}",
        "put the shard back, or write the set again with `loupe shard`",
    )


def _is_whole(path: Path, shard: Shard) -> bool:
    with suppress(OSError):
        return path.stat().st_size == shard.bytes and not path.is_symlink()
    return False


def list_shards(folder: Path) -> list[tuple[Path, int, float]]:
    """The shards in the folder: path, bytes and when each was last used."""
    found = []
    with suppress(OSError):
        for path in folder.glob("*.tar"):
            with suppress(OSError):
                facts = path.stat()
                found.append((path, facts.st_size, facts.st_mtime))
    return found


def choose_limit(folder: Path, asked_gb: float, processes: int) -> int:
    """Bytes that this process may keep: its share of what was asked for and of what is free."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = os.statvfs(folder) if hasattr(os, "statvfs") else None
    free = facts.f_bavail * facts.f_frsize if facts else 2**62
    held = sum(size for _, size, _ in list_shards(folder))
    room = min(int(asked_gb * 10**9), free + held - SPARE_BYTES)
    if room <= 0:
        raise ResourceError(
            f"the cache of shards has no room: {printable(folder)} has {format_bytes(free)} free",
            "make room, or set XDG_CACHE_HOME to a folder on another disk",
        )
    return room // max(1, processes)
