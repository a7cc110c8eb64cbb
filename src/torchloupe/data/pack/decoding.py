"""Decoding a whole set once, with as many threads as there are cores.

The decoders release the interpreter lock, so threads are enough. Images that can't be decoded are
listed with the reason; the caller decides where pixels go.
"""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from errno import EMFILE, ENFILE, ENOMEM
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.contract import Contract
from torchloupe.data.image.formats import ImageError
from torchloupe.data.sources.source import Data
from torchloupe.errors import DataError, HungError, LoupeError, ResourceError, printable
from torchloupe.system.counter_rng import Keys, make_key
from torchloupe.system.heap import keep_freed_blocks
from torchloupe.system.limits import usable_cores

MAX_THREADS = 32
HUNG_SECONDS = 25.0  # without a single image
POLL_SECONDS = 0.1
CHUNK_BYTES = 8 * 2**20
CHUNK_ROWS = 512
CHUNKS = 128  # at least, in a set of as many images: what remains for one core at the end is little

Progress = Callable[[int, int], None]
_KINDS = (  # words in a reason, and the kind that they stand for
    ("empty file", "empty"),
    ("not an image", "not an image"),
    ("truncated", "truncated"),
    ("header says", "too large"),
    (", more than", "too large"),
    ("not read here", "of a kind not read here"),
    ("is read with the extra", "of a kind not read here"),
    ("not built into", "of a kind not read here"),
    ("no fixed range", "without a fixed range"),
    ("white is", "beyond the range of the set"),
    ("not finite", "not finite"),
)
_EXHAUSTED = {os.strerror(number) for number in (EMFILE, ENFILE, ENOMEM)}


@dataclass(frozen=True)
class BadImage:
    """An image that can't be used: its row, its id and why. Its pixels are never given out."""

    row: int
    id: str
    reason: str
    is_unread: bool = False  # the file could not be opened at all: another try may succeed

    @property
    def kind(self) -> str:
        """The kind of its reason, by which such images are counted."""
        if self.is_unread:
            return "not opened"
        return next((kind for words, kind in _KINDS if words in self.reason), "damaged")


@dataclass(frozen=True, eq=False)
class Chunk:
    """What decoding a stretch of images found, besides their pixels."""

    start: int  # the row of the first of them
    content: Keys  # a hash of each encoded image, or of its array
    bad: tuple[BadImage, ...] = ()


Write = Callable[[Chunk, NDArray[Any]], None]


def thread_count() -> int:
    """How many threads may decode: one for each core that this process may use."""
    return min(MAX_THREADS, usable_cores())


def rows_per_chunk(row_bytes: int, count: int = CHUNKS * CHUNK_ROWS) -> int:
    """How many of `count` images are decoded and written at a time: a power of two.

    It depends on the set alone, never on the machine, so that any machine continues a pack.
    """
    most = max(1, min(CHUNK_ROWS, CHUNK_BYTES // max(1, row_bytes), count // CHUNKS))
    return 1 << (most.bit_length() - 1)


def no_sign_of_life(names: Sequence[str]) -> HungError:
    """The error for images whose reading makes no progress."""
    named = ", ".join(map(printable, names[:5])) or "unknown"
    return HungError(
        f"reading the data hangs: for {HUNG_SECONDS:.0f} s no image has come; being read: {named}",
        "see whether that file can be read at all (a network drive that is gone?)",
    )


class Decoding:
    """The work of decoding all images of `data` by `contract`.

    `progress` gets how many of how many are done, `announce` a text before a long step.
    """

    def __init__(
        self,
        data: Data,
        contract: Contract,
        progress: Progress | None = None,
        announce: Callable[[str], None] | None = None,
    ) -> None:
        self.data = data
        self.contract = contract
        self.shape = (len(data.samples), *contract.size, contract.channels)
        self.row_bytes = int(np.prod(self.shape[1:])) * np.dtype(contract.dtype).itemsize
        self.total_bytes = self.row_bytes * len(data.samples)
        self.chunk_rows = rows_per_chunk(self.row_bytes, self.shape[0])
        self.announce = announce or (lambda _: None)
        self._progress = progress
        self._stop = threading.Event()
        self._done = np.zeros(-(-self.shape[0] // self.chunk_rows), dtype=np.int64)
        self._is_begun = np.zeros(len(self._done), dtype=np.bool_)

    def run(
        self, write: Write | None = None, kept: Iterable[Chunk] = ()
    ) -> tuple[Keys, tuple[BadImage, ...]]:
        """Decode everything; `write(chunk, pixels)` takes each chunk and is called by threads.

        Without it the pixels are dropped: then this finds the bad images and nothing else.
        Chunks in `kept` were decoded before and are skipped.

        Returns the content key of every image [N] and the bad ones, whose pixels are zeros.
        """
        self._stop.clear()  # set by a run before this one, whose writing failed
        self._done[:] = 0
        self._is_begun[:] = False
        found = {chunk.start: chunk for chunk in kept}
        for chunk in found.values():
            self._done[chunk.start // self.chunk_rows] = len(chunk.content)
        # A user's own Dataset may not be thread-safe.
        threads = 1 if self.data.kind == "dataset" else thread_count()
        keep_freed_blocks()  # before there are threads
        pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        starts = (k for k in range(0, self.shape[0], self.chunk_rows) if k not in found)
        running: set[Future[Chunk | None]] = set()
        known, idle_seconds = 0, 0.0
        try:
            while True:
                for start in starts:
                    running.add(pool.submit(self._do_chunk, start, write))
                    if len(running) >= 2 * threads:
                        break
                if not running:
                    break
                ended, running = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                for done in (future.result() for future in ended):
                    if done is not None:
                        found[done.start] = done
                count = int(self._done.sum())
                if self._progress is not None:
                    self._progress(count, self.shape[0])
                idle_seconds = 0.0 if ended or count != known else idle_seconds + POLL_SECONDS
                known = count
                if idle_seconds >= HUNG_SECONDS:
                    self._give_up()
        except BaseException as error:
            self._stop.set()
            pool.shutdown(wait=not isinstance(error, HungError), cancel_futures=True)
            raise
        pool.shutdown()
        chunks = [found[start] for start in sorted(found)]
        content = np.concatenate([chunk.content for chunk in chunks])
        return content, tuple(image for chunk in chunks for image in chunk.bad)

    def _give_up(self) -> None:
        """Raise HungError with the names of the images that are being read."""
        starts = np.arange(len(self._done)) * self.chunk_rows
        sizes = np.minimum(self.chunk_rows, self.shape[0] - starts)
        begun = np.flatnonzero(self._is_begun & (self._done < sizes))
        rows = [int(starts[chunk] + self._done[chunk]) for chunk in begun]
        raise no_sign_of_life([str(self.data.samples.ids[row]) for row in rows])

    def decode_again(self, row: int) -> NDArray[Any]:
        """The pixels of an image that was decoded before; DataError if it no longer can be."""
        try:
            return self.contract.decode(self.data.reader.read(row))
        except DataError as error:
            name = printable(self.data.samples.ids[row])
            raise DataError(
                f"{name} could be decoded at the start and can't be now: {error.message}",
                "leave the data alone while it is used, or keep it in memory (data.pack=memory)",
            ) from None

    def is_readable(self, image: BadImage) -> bool:
        """Whether an image that could not be read or decoded can be now."""
        try:
            found = self.data.reader.read(image.row)
            if not image.is_unread:
                self.contract.decode(found)
        except DataError:
            return False
        return True

    def _do_chunk(self, start: int, write: Write | None) -> Chunk | None:
        """Decode the chunk that begins at `start`; None if the work was stopped meanwhile."""
        self._is_begun[start // self.chunk_rows] = True
        end = min(start + self.chunk_rows, self.shape[0])
        pixels = np.zeros((end - start, *self.shape[1:]), dtype=self.contract.dtype)
        content = np.zeros(end - start, dtype=np.uint64)
        bad = []
        for place in range(end - start):
            if self._stop.is_set():
                return None
            content[place], reason = self._do_row(start + place, pixels[place])
            if reason is not None:
                bad.append(reason)
            self._done[start // self.chunk_rows] += 1
        chunk = Chunk(start, content, tuple(bad))
        if write is not None:
            write(chunk, pixels)
        return chunk

    def _do_row(self, row: int, out: NDArray[Any]) -> tuple[int, BadImage | None]:
        """Decode one image into `out`: the key of its content, and what is wrong, if so."""
        name = str(self.data.samples.ids[row])
        try:
            image = self.data.reader.read(row)
        except DataError as error:
            if error.message in _EXHAUSTED:
                raise ResourceError(
                    f"{printable(name)} can't be read: {error.message}",
                    "allow more open files (ulimit -n), or free memory",
                ) from None
            return make_key(name), BadImage(row, name, error.message, is_unread=True)
        key = make_key(image if isinstance(image, bytes) else image.tobytes())
        try:
            out[:] = self.contract.decode(image)
        except ImageError as error:
            return key, BadImage(row, name, error.message)
        except LoupeError as error:
            raise type(error)(f"{printable(name)}: {error.message}", error.hint) from None
        return key, None
