"""Reads single images out of shards: from this machine's disk, or over the network.

A shard that is here is read in place. Of one that isn't, an image is fetched by itself, which is
what the first moments of a run and a look at a few images need.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.shards.cellar import changed
from torchloupe.data.shards.store import ShardStore
from torchloupe.data.sources.source import read_file
from torchloupe.errors import DataError
from torchloupe.system.counter_rng import Keys, make_key

WARM_BYTES = 64 * 2**20  # of images that were fetched singly and are kept in memory
AT_ONCE = 32  # images that are fetched at a time


class ShardReader:
    """Images that lie uncompressed inside tar files, each at its offset."""

    def __init__(
        self,
        shards: Sequence[str],
        places: NDArray[np.int64],
        content: Keys | None = None,
        store: ShardStore | None = None,
    ) -> None:
        """`places` [N, 3]: number of the shard, offset, size in bytes.

        `content` [N] are keys that the bytes must have. With a `store` the shards are far away.
        """
        self.shards = tuple(shards)
        self.places = places
        self.content = content
        self.store = store
        self._lock = threading.Lock()
        self._warm: OrderedDict[int, bytes] = OrderedDict()
        self._warm_bytes = 0

    def read(self, row: int) -> bytes:
        """The bytes of the image of `row`."""
        shard, offset, size = (int(number) for number in self.places[row])
        if self.store is None:
            found = read_file(self.shards[shard], offset, size)
            self._require_same(row, found)
            return found
        path = self.store.find(shard)
        if path is not None:
            with suppress(DataError):  # removed by another process that needed room, or damaged
                found = read_file(str(path), offset, size)
                self._require_same(row, found)
                return found
            self.store.forget(shard)
        return self._read_alone(row)

    def are_here(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which images [B] are on this machine, in whole shards."""
        if self.store is None:
            return np.ones(len(rows), dtype=np.bool_)
        return np.isin(self.places[rows, 0], self.store.here())

    def warm(self, rows: NDArray[np.int64]) -> None:
        """Fetch these images at once, so that reading them one by one does not wait for each."""
        if self.store is None:
            return
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="warm") as pool:
            list(pool.map(self._try_alone, map(int, rows)))

    def _try_alone(self, row: int) -> None:
        with suppress(DataError):  # it is named by whoever reads it
            self._read_alone(row)

    def _read_alone(self, row: int) -> bytes:
        with self._lock:
            if (kept := self._warm.get(row)) is not None:
                return kept
        assert self.store is not None
        shard, offset, size = (int(number) for number in self.places[row])
        found = self.store.network.read(self.store.address(shard), offset, offset + size)
        self._require_same(row, found)
        with self._lock:
            self._warm[row] = found
            self._warm_bytes += size
            while self._warm_bytes > WARM_BYTES:
                self._warm_bytes -= len(self._warm.popitem(last=False)[1])
        return found

    def _require_same(self, row: int, found: bytes) -> None:
        if self.content is None or make_key(found) == int(self.content[row]):
            return
        raise changed(self.shards[int(self.places[row][0])], f"another image lies at row {row:,}")


def require_shards(reader: object) -> ShardReader:
    """`reader`, if it reads tar shards; DataError else."""
    if isinstance(reader, ShardReader):
        return reader
    raise DataError(
        "only tar shards can be streamed, and these data are none",
        "write shards of them with `loupe shard DATA OUT`",
    )
