"""Reads single images out of shards: from this machine's disk, or over the network.

A shard that is here is read in place. Of one that isn't, an image is fetched by itself, which is
what the first moments of a run and a look at a few images need.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
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
AT_ONCE = 32  # requests at a time
GAP_BYTES = 2**16  # between two images: where there are fewer, one request fetches both
REQUEST_BYTES = 4 * 2**20  # of a request for several images
GLANCE_IMAGES, GLANCE_PART = 512, 8  # fewer images, and less than an eighth of their shards
PORTION = 256  # images that are fetched before the first of them is used

Rows = NDArray[np.int64]


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
        is_here = np.zeros(len(self.shards), dtype=np.bool_)
        is_here[self.store.here()] = True
        return np.asarray(is_here[self.places[rows, 0]])

    def is_glance(self, rows: Rows) -> bool:
        """Whether these are a few far images, not worth fetching the shards that they lie in."""
        if self.store is None or len(rows) > GLANCE_IMAGES:
            return False
        asked = int(self.places[rows, 2].sum())
        held = sum(self.store.bytes_of(int(shard)) for shard in np.unique(self.places[rows, 0]))
        return GLANCE_PART * asked < held and asked <= WARM_BYTES // 2

    def portions(self, rows: Rows) -> Iterator[Rows]:
        """`rows` in parts, each fetched before it is given, kept while it is used, and let go."""
        sizes = np.cumsum(self.places[rows, 2])
        start = 0
        while start < len(rows):
            before = sizes[start - 1] if start else 0
            fitting = int(np.searchsorted(sizes, before + WARM_BYTES // 2, side="right"))
            end = max(start + 1, min(start + PORTION, fitting))
            self.warm(rows[start:end])
            yield rows[start:end]
            self._let_go(rows[start:end])
            start = end

    def warm(self, rows: Rows) -> None:
        """Fetch these images at once, so that reading them one by one does not wait for each.

        Those that lie near each other come in one request.
        """
        if self.store is None:
            return
        far = rows[~self.are_here(rows)]
        with self._lock:
            missing = [row for row in far.tolist() if row not in self._warm]
        spans = join_neighbours(self.places, np.array(missing, dtype=np.int64))
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="warm") as pool:
            list(pool.map(self._try_span, spans))

    def _try_span(self, rows: Rows) -> None:
        """Fetch images of one shard, which lie there in this order, with one request."""
        assert self.store is not None
        shard, begin, _ = (int(number) for number in self.places[rows[0]])
        end = int(self.places[rows, 1:].sum(axis=1).max())
        try:
            whole = self.store.network.read(self.store.address(shard), begin, end)
        except DataError:
            return  # it is named by whoever reads it
        for row in rows.tolist():
            _, offset, size = (int(number) for number in self.places[row])
            found = whole[offset - begin : offset - begin + size]
            with suppress(DataError):
                self._require_same(row, found)
                self._keep(row, found)

    def _read_alone(self, row: int) -> bytes:
        with self._lock:
            if (kept := self._warm.get(row)) is not None:
                return kept
        assert self.store is not None
        shard, offset, size = (int(number) for number in self.places[row])
        found = self.store.network.read(self.store.address(shard), offset, offset + size)
        self._require_same(row, found)
        self._keep(row, found)
        return found

    def _let_go(self, rows: Rows) -> None:
        with self._lock:
            for row in rows.tolist():
                self._warm_bytes -= len(self._warm.pop(row, b""))

    def _keep(self, row: int, found: bytes) -> None:
        with self._lock:
            self._warm_bytes += len(found) - len(self._warm.get(row, b""))
            self._warm[row] = found
            while self._warm_bytes > WARM_BYTES:
                self._warm_bytes -= len(self._warm.popitem(last=False)[1])

    def _require_same(self, row: int, found: bytes) -> None:
        if self.content is None or make_key(found) == int(self.content[row]):
            return
        raise changed(self.shards[int(self.places[row][0])], f"another image lies at row {row:,}")


def join_neighbours(places: NDArray[np.int64], rows: Rows) -> list[Rows]:
    """`rows` as lists of images that one request can fetch, each in the order of its shard."""
    if not len(rows):
        return []
    shard, begin, size = places[rows].T
    order = np.lexsort((begin, shard))
    rows, shard, begin, end = rows[order], shard[order], begin[order], (begin + size)[order]
    spans, first = [], 0
    for place in range(1, len(rows)):
        is_far = shard[place] != shard[first] or begin[place] - end[place - 1] > GAP_BYTES
        if is_far or end[place] - begin[first] > REQUEST_BYTES:
            spans.append(rows[first:place])
            first = place
    return [*spans, rows[first:]]


def require_shards(reader: object) -> ShardReader:
    """`reader`, if it reads tar shards; DataError else."""
    if isinstance(reader, ShardReader):
        return reader
    raise DataError(
        "only tar shards can be streamed, and these data are none",
        "write shards of them with `loupe shard DATA OUT`",
    )
