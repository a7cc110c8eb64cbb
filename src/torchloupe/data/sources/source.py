"""What every source becomes: a table of samples, and a reader of one image at a time.

It knows files and arrays, not formats: whether bytes are a sound image is for data/decode.
"""

import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.image.formats import MAX_BYTES, ImageError
from torchloupe.data.samples import Samples
from torchloupe.data.split import TEST, TRAIN, VAL
from torchloupe.errors import printable
from torchloupe.units import format_bytes

# How data sets name their splits, in lower case.
SPLIT_WORDS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "test": TEST,
    "testing": TEST,
}


class Reader(Protocol):
    """Reads one image; safe to call from several threads."""

    def read(self, row: int) -> bytes | NDArray[Any]:
        """The image of `row`: an encoded file, or pixels [H, W, C] uint8 or float32.

        Raises ImageError, with the reason alone as message, for an image that can't be read.
        """
        ...


@dataclass(frozen=True)
class ClassNames:
    """The names that class numbers of a table were given, and whether by a list beside it."""

    names: Mapping[int, str]
    is_listed: bool


@dataclass(frozen=True, eq=False)
class Data:
    """An opened source: what there is, which part the source says it is for, how to read it."""

    name: str  # short, fit for a folder name: "digits", "photos"
    kind: str  # folder, table, arrays, shards, dataset or stream
    samples: Samples = field(repr=False)  # of all splits together; no ids for a stream
    given: NDArray[np.int8] | None = field(repr=False)  # [N] 0 train, 1 val, 2 test
    reader: Reader = field(repr=False)
    ignored: Mapping[str, int] = field(default_factory=dict)  # files passed over, by ending
    notes: tuple[str, ...] = ()  # what the user should know, one line each
    stamp: str = ""  # cheap identity: the same text means the same pixels
    opened_with: Mapping[str, str] = field(default_factory=dict)  # options that were typed
    origin: str = ""  # the path, name or code that opens them again; empty for objects
    content: NDArray[np.uint64] | None = field(default=None, repr=False)  # [N] known keys of bytes
    # Of a table, for joining it with those of other splits:
    named: ClassNames | None = field(default=None, repr=False)
    grouped: tuple[tuple[str, NDArray[Any]], ...] = field(default=(), repr=False)  # cells by column


class ArrayReader:
    """Images that are in memory (or mapped) already, as one array [N, H, W, C]."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def read(self, row: int) -> NDArray[Any]:
        """The pixels of `row` [H, W, C], not copied."""
        pixels: NDArray[Any] = self.array[row]
        return pixels


class FileReader:
    """Image files named by ids relative to a root folder."""

    def __init__(self, root: str, names: NDArray[Any], exact: Mapping[int, str]) -> None:
        """`exact` holds the paths of the few rows whose name can't be written as Unicode."""
        self.root = root
        self._names = names
        self._exact = exact

    def name(self, row: int) -> str:
        """The name of the file of `row`, relative to the root or absolute."""
        return self._exact.get(row) or str(self._names[row])

    def path(self, row: int) -> str:
        """Where the file of `row` is; an absolute name is taken as it is."""
        return os.path.join(self.root, self.name(row))  # noqa: PTH118

    def read(self, row: int) -> bytes:
        """The bytes of the file of `row`."""
        return read_file(self.path(row))


def read_file(path: str, offset: int = 0, size: int | None = None) -> bytes:
    """The bytes of a regular file, or `size` of them from `offset`; ImageError says why not.

    A pipe or a device that bears an image's name is refused and not waited for.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        number = os.open(path, flags)
        try:
            facts = os.fstat(number)
            if not stat.S_ISREG(facts.st_mode):
                raise ImageError("not a regular file")
            wanted = facts.st_size - offset if size is None else size
            if wanted > MAX_BYTES:
                raise ImageError(f"{format_bytes(wanted)} is too large for an image")
            with open(number, "rb", buffering=0, closefd=False) as file:
                file.seek(offset)
                return file.read() if size is None else _read_exactly(file, size)
        finally:
            os.close(number)
    except FileNotFoundError:
        raise ImageError("there is no such file") from None
    except (OSError, ValueError) as error:
        raise ImageError(getattr(error, "strerror", None) or str(error)) from None


def _read_exactly(file: Any, size: int) -> bytes:
    parts = []
    while size > 0 and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    if size:
        raise ImageError("the file ends before the image does")
    return b"".join(parts)


def make_stamp(*parts: NDArray[Any] | str | float | None) -> str:
    """SHA-256 of arrays and texts, in order; StringDType arrays count by their text."""
    digest = sha256()
    for part in parts:
        if isinstance(part, np.ndarray) and isinstance(part.dtype, np.dtypes.StringDType):
            for start in range(0, len(part), 65_536):
                digest.update("\0".join(part[start : start + 65_536]).encode() + b"\1")
        elif isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(repr(part).encode("utf-8", "backslashreplace") + b"\1")
    return digest.hexdigest()


def stamp_file(path: str) -> str:
    """A text that changes whenever the file at `path` is written to."""
    facts = os.stat(path)  # noqa: PTH116
    return f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns}"


def short_name(text: str) -> str:
    """`text` fit to be part of a folder name anywhere: letters, digits, `.`, `-`, `_`."""
    plain = re.sub(r"[^0-9A-Za-z._-]+", "-", text).strip("-._")
    return plain[:60] or "data"


def name_some(names: Iterable[object], limit: int = 5) -> str:
    """`'a', 'b' and 3 more`: untrusted names, safe to print, few enough to read; paths whole."""
    listed = list(names)
    shown = ", ".join(f"'{printable(name, 80)}'" for name in listed[:limit])
    return shown + (f" and {len(listed) - limit:,} more" if len(listed) > limit else "")


def count_ignored(ignored: Mapping[str, int]) -> str:
    """`7,858 .ogg, 952 .txt`, the most frequent first."""
    ranked = sorted(ignored.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{count:,} {printable(ending, 20)}" for ending, count in ranked[:5])
    return shown + (" and others" if len(ranked) > 5 else "")
