"""Pixels that are read and decoded when they are needed: of shards, and kept nowhere.

Images are decoded by threads, some batches ahead. Nobody decoded them all before: one that can't
be decoded is found when its turn comes, named, and left out.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchloupe.data.contract import Contract
from torchloupe.data.image.formats import ImageError
from torchloupe.data.pack.decoding import HUNG_SECONDS, BadImage, no_sign_of_life, thread_count
from torchloupe.data.pack.pixels import Pixels, most_in_statistics, statistics_of
from torchloupe.data.pack.set_aside import UnreadableError
from torchloupe.data.sources.shard_reader import ShardReader, require_shards
from torchloupe.data.sources.source import Data
from torchloupe.errors import DataError, printable
from torchloupe.system.cache import Kept, find_cache, remember
from torchloupe.system.counter_rng import Keys, make_key

STATISTICS_IMAGES = 2_048  # that mean and standard deviation are taken from
NEIGHBOURS = 16  # of them lie side by side in a shard, so that one request fetches them
FAR_THREADS = 16  # that decode where some images come over the network one by one
ROWS_AT_ONCE = 8  # images of one task; of those far away, each is one
SILENT_SECONDS = 8 * HUNG_SECONDS  # for images from far away, whose requests are repeated first

Rows = NDArray[np.int64]
Decoded = tuple[NDArray[Any], NDArray[np.bool_]]  # images [B, H, W, C], and which of them are sound


class StreamedPixels(Pixels):
    """Images of shards, decoded each time that they are asked for."""

    def __init__(
        self, data: Data, contract: Contract, content: Keys, bad_fraction: float = 0.01
    ) -> None:
        super().__init__(contract, None, content, (), "streamed")
        self.reader: ShardReader = require_shards(data.reader)
        self._data = data
        self._bad_fraction = bad_fraction
        self._found: dict[int, BadImage] = {}
        self._lock = threading.Lock()
        self._shape = (*contract.size, contract.channels)
        self._far_pool: ThreadPoolExecutor | None = None

    def gather(self, rows: Rows) -> Tensor:
        """The images at `rows` [B, H, W, C] on the CPU; DataError for one that can't be decoded."""
        images, is_sound = self.begin(rows)()
        if not is_sound.all():
            bad = self._found[int(rows[np.flatnonzero(~is_sound)[0]])]
            raise DataError(
                f"{printable(bad.id)} can't be decoded: {bad.reason}",
                "write the set again with `loupe shard`, which leaves such images out",
            )
        return torch.from_numpy(images)

    def sound_batches(self, rows: Rows) -> Iterator[Tensor]:
        """The images at `rows` that can be decoded, in batches [B, H, W, C]."""
        for some in self.reader.portions(rows):
            images, is_sound = self.begin(some)()
            yield torch.from_numpy(images[is_sound])

    def begin(self, rows: Rows) -> Callable[[], Decoded]:
        """Begin to decode; what is returned waits for the images and gives them."""
        images = np.zeros((len(rows), *self._shape), dtype=self.contract.dtype)
        is_sound = np.ones(len(rows), dtype=np.bool_)
        is_here = self.reader.are_here(rows)
        tasks = []
        for far in (False, True):  # those that wait for the network don't keep the cores waiting
            places = np.flatnonzero(is_here ^ far)
            count = 1 if far else ROWS_AT_ONCE
            for at in range(0, len(places), count):
                some = places[at : at + count]
                task = self._threads(far).submit(self._decode, rows, some, images, is_sound)
                tasks.append((task, int(rows[some[0]])))

        def finish() -> Decoded:
            for task, row in tasks:
                self._await(task, row)
            return images, is_sound

        return finish

    def _threads(self, far: bool) -> ThreadPoolExecutor:
        """The threads that decode: one a core, and others that mostly wait for the network."""
        if far:
            if self._far_pool is None:
                self._far_pool = ThreadPoolExecutor(FAR_THREADS, thread_name_prefix="far")
            return self._far_pool
        if self._pool is None:
            self._pool = ThreadPoolExecutor(thread_count(), thread_name_prefix="decode")
        return self._pool

    def _await(self, task: Future[None], row: int) -> None:
        try:
            task.result(SILENT_SECONDS)
        except TimeoutError:
            if task.done():
                raise
            raise no_sign_of_life([str(self._data.samples.ids[row])]) from None

    def _decode(
        self, rows: Rows, places: Rows, images: NDArray[Any], is_sound: NDArray[np.bool_]
    ) -> None:
        for place in places.tolist():
            row = int(rows[place])
            try:
                images[place] = self.contract.decode(self.reader.read(row))
            except ImageError as error:
                is_sound[place] = False
                images[place] = 0
                self._note_bad(BadImage(row, str(self._data.samples.ids[row]), error.message))

    def _note_bad(self, image: BadImage) -> None:
        """Remember it; UnreadableError once there are more than the fraction that is allowed."""
        with self._lock:
            self._found[image.row] = image
            self.bad = tuple(self._found[row] for row in sorted(self._found))
        if len(self.bad) > self._bad_fraction * len(self):
            raise UnreadableError(self.bad, len(self), self._bad_fraction)


def statistics_of_some(
    pixels: StreamedPixels, rows: Rows
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """`statistics` of some of the images at `rows`, since each has to be read anew."""
    most = min(STATISTICS_IMAGES, most_in_statistics(pixels.contract))
    some = draw_neighbours(rows, pixels.reader.places, pixels.content, most)
    return statistics_of(pixels.contract, pixels.sound_batches(some))


def draw_neighbours(rows: Rows, places: NDArray[np.int64], content: Keys, most: int) -> Rows:
    """Up to `most` of `rows`, NEIGHBOURS at a time that follow each other in their shards.

    Which ones depends on the content of the images, as good as at random.
    """
    if len(rows) <= most:
        return rows
    side = min(NEIGHBOURS, most)
    in_turn = rows[np.lexsort((places[rows, 1], places[rows, 0]))]
    groups = in_turn[: len(in_turn) // side * side].reshape(-1, side)
    drawn = np.argsort(content[groups[:, 0]], kind="stable")[: most // side]
    return groups[np.sort(drawn)].ravel()


def open_streamed(data: Data, contract: Contract, bad_fraction: float = 0.01) -> StreamedPixels:
    """The images of shards, to be decoded when they are needed.

    Keys of their bytes come from the index. Local shards without one are read once for them.
    """
    reader = require_shards(data.reader)
    content = data.content
    if content is None:
        cache = find_cache()
        path = None if cache is None else cache / "shards" / "indexes" / f"{data.stamp[:16]}.kept"
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        kept = remember(path, data.stamp, lambda: Kept({}, {"content": _read_keys(reader)}))
        content = reader.content = kept.arrays["content"].astype(np.uint64)
    return StreamedPixels(data, contract, content, bad_fraction)


def _read_keys(reader: ShardReader) -> Keys:
    """The key of the bytes of each image [N]; of one that can't be read, that of nothing."""

    def key(row: int) -> int:
        try:
            return make_key(reader.read(row))
        except ImageError:
            return make_key(f"row {row}")

    with ThreadPoolExecutor(thread_count(), thread_name_prefix="keys") as pool:
        return np.fromiter(pool.map(key, range(len(reader.places))), dtype=np.uint64)
