"""The pack: decoded pixels of a whole set in one file, with digests, in the user's cache folder.

A pack is written beside its name, flushed to disk and renamed, so that a folder under its name
is complete. A journal lists the finished parts of a pack under construction, so that a build that
was killed continues where it stopped. Where packs are kept is for library.py.
"""

import hashlib
import json
import shutil
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.pack.blocks import DIGEST_BYTES, Blocks, digest_blocks, rows_per_block
from torchloupe.data.pack.decoding import BadImage, Chunk, rows_per_chunk, thread_count
from torchloupe.data.pack.journal import Journal
from torchloupe.errors import ResourceError, printable
from torchloupe.system.counter_rng import Keys
from torchloupe.system.files import sync
from torchloupe.system.sealed import seal, unseal

FORMAT = 2
READER = 2  # raised when images can be read that could not be before; absent in a manifest: 1
AT_ONCE_BYTES = 2 * 10**9  # up to this size a pack is checked when it is opened
FLUSH_BYTES = 64 * 2**20  # flushed in the background while decoding goes on
FILES = (  # all that a pack may hold, finished or not
    *("pixels.bin", "blocks.bin", "content.bin", "manifest.json"),
    *("about.json", "journal", "damage.txt"),
    *("split.kept", "statistics.kept", ".split.kept.writing", ".statistics.kept.writing"),
)


class PackError(Exception):
    """A pack that is damaged or not what its name says; the text says where."""


class OtherFormatError(PackError):
    """A pack of another version."""


@dataclass(frozen=True, eq=False)
class Pack:
    """An opened pack: pixels [N, H, W, C] mapped read-only, content keys [N], bad images."""

    folder: Path
    pixels: NDArray[Any]
    content: Keys
    bad: tuple[BadImage, ...]
    blocks: Blocks
    reader: int = READER  # of the version that found which images are bad

    def check(self, rows: NDArray[np.int64] | None = None) -> None:
        """PackError if images at `rows` (or any) differ from what was written."""
        damaged = self.blocks.find_damage(rows)
        if damaged is not None:
            raise PackError(f"images from {damaged:,} on differ from what was written")

    def require_intact(self, rows: NDArray[np.int64] | None = None) -> None:
        """ResourceError if images differ from what was written; the next use builds it again."""
        try:
            self.check(rows)
        except PackError as error:
            with suppress(OSError):  # of a cache that can't be written
                (self.folder / "damage.txt").write_text(str(error), encoding="ascii")
            raise ResourceError(
                f"the pack {printable(self.folder)} is damaged: {error}",
                "run the command again (`loupe resume` continues a run): the pack is then "
                "built again; if it happens twice, the disk is failing",
            ) from None


class PackWriter:
    """Writes the pack `folder`; `write` may be called from several threads, `finish` ends it.

    Continues the work of an earlier writer of the same pack that was killed: the chunks in
    `kept` are finished, and their pixels have the digests in the journal.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: str, name: str = "") -> None:
        """`name` is that of the data, shown in lists of packs."""
        self.folder = folder
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.row_bytes = int(np.prod(shape[1:])) * self.dtype.itemsize
        self.chunk_rows = rows_per_chunk(self.row_bytes, shape[0])
        self.block_rows = min(self.chunk_rows, rows_per_block(self.row_bytes))
        self._digests: dict[int, bytes] = {}
        self.kept: tuple[Chunk, ...] = ()
        self.place = self._take_up() or self._begin()
        self._journal = Journal(self.place / "journal")
        self._lock = threading.Lock()
        self._unflushed_bytes = 0
        self._flusher = ThreadPoolExecutor(1, thread_name_prefix="flush")
        self._flushing: Future[None] | None = None
        write_about(self.place, name, shape)

    def write(self, chunk: Chunk, pixels: NDArray[Any]) -> None:
        """Write one chunk, which starts at a multiple of `chunk_rows`."""
        rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1).view(np.uint8)
        digests = digest_blocks(rows, self.block_rows)
        content = memoryview(rows.data).cast("B")
        with (self.place / "pixels.bin").open("r+b", buffering=0) as file:
            file.seek(chunk.start * self.row_bytes)
            while content:
                content = content[file.write(content) :]
        self._journal.add(chunk, digests)
        self._digests[chunk.start] = digests
        self._flush_some(rows.nbytes)

    def finish(self, content: Keys, bad: Sequence[BadImage]) -> None:
        """Flush all to the disk, then rename the folder to that of the pack."""
        keys = content.astype("<u8").tobytes()
        digests = b"".join(self._digests[start] for start in sorted(self._digests))
        manifest = {
            "format": FORMAT,
            "reader": READER,
            "shape": list(self.shape),
            "dtype": self.dtype.name,
            "block_rows": self.block_rows,
            "blocks": hashlib.sha256(digests).hexdigest(),
            "content": hashlib.sha256(keys).hexdigest(),
            "bad": [[b.row, b.id, b.reason, b.is_unread] for b in bad],
        }
        (self.place / "blocks.bin").write_bytes(digests)
        (self.place / "content.bin").write_bytes(keys)
        (self.place / "manifest.json").write_bytes(seal(manifest))
        self._flusher.shutdown()
        if self._flushing is not None:
            self._flushing.result()
        for file in self.place.iterdir():
            sync(file)
        sync(self.place)
        self.place.rename(self.folder)
        sync(self.folder.parent)
        (self.folder / "journal").unlink(missing_ok=True)

    @property
    def is_empty(self) -> bool:
        """Whether no chunk is finished yet."""
        return not self._digests

    def abandon(self) -> None:
        """Remove the unfinished folder."""
        self._flusher.shutdown()
        shutil.rmtree(self.place, ignore_errors=True)

    def _flush_some(self, written_bytes: int) -> None:
        """Start a flush after every FLUSH_BYTES; OSError if the one before failed."""
        with self._lock:
            self._unflushed_bytes += written_bytes
            if self._flushing is not None and self._flushing.done():
                self._flushing.result()
                self._flushing = None
            if self._unflushed_bytes >= FLUSH_BYTES and self._flushing is None:
                self._unflushed_bytes = 0
                self._flushing = self._flusher.submit(sync, self.place / "pixels.bin")

    def _begin(self) -> Path:
        place = self.folder.parent / f".{self.folder.name}.building-{uuid.uuid4().hex[:8]}"
        place.mkdir()
        with (place / "pixels.bin").open("xb") as file:
            file.truncate(self.row_bytes * self.shape[0])
        return place

    def _take_up(self) -> Path | None:
        """The unfinished folder of a writer that was killed, if there is one of this size."""
        size = self.row_bytes * self.shape[0]
        left = sorted(find_unfinished(self.folder), key=lambda p: _size_of(p, "journal"))
        place = left.pop() if left and _size_of(left[-1]) == size else None
        for other in left:
            shutil.rmtree(other, ignore_errors=True)
        if place is None:
            return None
        pixels = np.memmap(place / "pixels.bin", mode="r", shape=(self.shape[0], self.row_bytes))
        journal = Journal(place / "journal")

        def is_sound(entry: tuple[Chunk, bytes]) -> bool:
            chunk, digests = entry
            rows = pixels[chunk.start : chunk.start + self.chunk_rows]
            journal.path.touch()  # for those who wait: this process is alive
            return (
                chunk.start % self.chunk_rows == 0
                and 0 < len(rows) == len(chunk.content)
                and not any(image.is_unread for image in chunk.bad)
                and digest_blocks(np.asarray(rows), self.block_rows) == digests
            )

        entries = list({entry[0].start: entry for entry in journal.read()}.values())
        with ThreadPoolExecutor(thread_count(), thread_name_prefix="check") as pool:
            verdicts = list(pool.map(is_sound, entries))
        sound = [entry for entry, fine in zip(entries, verdicts, strict=True) if fine]
        self.kept = tuple(chunk for chunk, _ in sound)
        self._digests = {chunk.start: digests for chunk, digests in sound}
        return place


def read_pack(folder: Path, at_once_bytes: int | None = None) -> Pack:
    """The pack in `folder`; PackError says what is wrong with it.

    Its pixels are checked here where they are few (up to AT_ONCE_BYTES); those of a large pack
    are by `Pack.check`. Raises FileNotFoundError if there is no pack of that name.
    """
    if not folder.exists():
        raise FileNotFoundError(folder)
    try:
        blob = (folder / "manifest.json").read_bytes()
        manifest, is_whole = unseal(blob)
        if not is_whole:
            raise PackError("its manifest does not match itself")
        if manifest["format"] != FORMAT:
            raise OtherFormatError(f"it has format {manifest['format']}, not {FORMAT}")
        if (folder / "damage.txt").exists():
            raise PackError((folder / "damage.txt").read_text(encoding="ascii"))
        shape, dtype = tuple(manifest["shape"]), np.dtype(manifest["dtype"])
        keys = _read_hashed(folder / "content.bin", manifest["content"])
        digests = _read_hashed(folder / "blocks.bin", manifest["blocks"])
        size, wanted = _size_of(folder), int(np.prod(shape)) * dtype.itemsize
        if size != wanted:
            raise PackError(f"pixels.bin has {size:,} bytes, not {wanted:,}")
        pixels = np.asarray(np.memmap(folder / "pixels.bin", dtype=dtype, mode="r", shape=shape))
        rows = pixels.reshape(len(pixels), -1).view(np.uint8)
        blocks = Blocks(rows, digests, manifest["block_rows"], thread_count())
        if len(digests) != blocks.count * DIGEST_BYTES:
            raise PackError("it has too few digests")
        bad = tuple(BadImage(*entry) for entry in manifest["bad"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PackError(f"it can't be read ({printable(error)})") from None
    content = np.frombuffer(keys, dtype="<u8").astype(np.uint64)
    pack = Pack(folder, pixels, content, bad, blocks, manifest.get("reader", 1))
    if size <= (AT_ONCE_BYTES if at_once_bytes is None else at_once_bytes):
        pack.check()
    return pack


def write_about(folder: Path, name: str, shape: tuple[int, ...]) -> None:
    """Write about.json, which lists of packs show and nothing else depends on."""
    text = json.dumps({"name": name, "shape": list(shape)})
    (folder / "about.json").write_text(text, encoding="ascii")


def find_unfinished(folder: Path) -> list[Path]:
    """The unfinished folders of the pack `folder`: of writers at work, or killed."""
    found = folder.parent.glob(f".{folder.name}.building-*")
    return sorted(place for place in found if not place.is_symlink())


def disk_bytes(folder: Path, names: Sequence[str] = FILES) -> int:
    """What the files of a pack take up on the disk, holes in them not counted."""
    total = 0
    for name in names:
        with suppress(OSError):
            facts = (folder / name).lstat()
            total += min(facts.st_size, 512 * getattr(facts, "st_blocks", facts.st_size))
    return total


def _size_of(folder: Path, name: str = "pixels.bin") -> int:
    """The size of a file in bytes; -1 if there is none."""
    try:
        return (folder / name).stat().st_size
    except OSError:
        return -1


def _read_hashed(path: Path, wanted: str) -> bytes:
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != wanted:
        raise PackError(f"{path.name} does not match its hash")
    return content
