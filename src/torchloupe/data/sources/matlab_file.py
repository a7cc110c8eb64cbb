"""The variables of a MATLAB file of version 5 to 7: numbers, texts, cells and structs.

It is read here since a damaged file crashes scipy's reader. The format is that of MathWorks'
"MAT-File Format", chapter 1.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from torchloupe.errors import DataError, printable
from torchloupe.units import format_bytes

_HEAD_BYTES = 128
_LARGEST_BYTES = 2**25  # of a file, and of what is compressed in it
_DEEPEST = 8  # cells and structs in one another
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8"}
_NUMBERS |= {13: "u8"}
_TEXTS = {1: "utf-8", 2: "utf-8", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR, _DOUBLE, _LAST_NUMBER = 1, 2, 4, 6, 15  # classes of arrays
_EMPTY = np.zeros(0)
HINT = "write its labels into a .csv with the columns image and label"
_HINT_FOR_ARRAYS = (
    "load its images by scipy.io.loadmat and save them by numpy.savez('set.npz', images=..., "
    "labels=...)"
)


class _BrokenError(ValueError):
    """The bytes are no such file."""


@dataclass(frozen=True)
class _Bytes:
    """Bytes with their order: "<" or ">"."""

    data: memoryview
    order: str

    def elements(self) -> Iterator[tuple[int, "_Bytes"]]:
        """(type, content) of each data element, in order."""
        place = 0
        while place + 8 <= len(self.data):
            kind, size = self.unpack("II", place)
            if kind >> 16:  # small: the size stands in the upper half, the content behind it
                kind, size, begin, place = kind & 0xFFFF, kind >> 16, place + 4, place + 8
            else:
                begin = place + 8
                place = begin + size + (-size % 8 if kind != _COMPRESSED else 0)
            if size > len(self.data) - begin:
                raise _BrokenError("it ends before its content does")
            yield kind, _Bytes(self.data[begin : begin + size], self.order)

    def unpack(self, form: str, place: int = 0) -> Any:
        """The numbers at a place, as the module struct calls them."""
        return struct.unpack_from(self.order + form, self.data, place)

    def numbers(self, kind: int) -> Any:
        """The content as numbers of a type [n]."""
        if kind not in _NUMBERS or len(self.data) % int(_NUMBERS[kind][1]):
            raise _BrokenError(f"numbers of type {kind}")
        return np.frombuffer(self.data, np.dtype(self.order + _NUMBERS[kind]))


def hint_for_arrays(path: Path) -> str:
    """What to do with a file that holds images: SVHN is read as a folder, others are converted."""
    folder = path.absolute().parent
    if (folder / "train_32x32.mat").is_file():
        return f"give its folder, which is read as SVHN: {printable(folder)}"
    return _HINT_FOR_ARRAYS


def read_variables(path: Path) -> dict[str, Any]:
    """The variables of a file by name: arrays, texts, lists (of cells), lists of dicts (structs).

    Arrays are squeezed. Objects, sparse arrays and the like are left out. DataError for what is no
    such file, and for large ones.
    """
    shown = printable(path)
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            limit = format_bytes(_LARGEST_BYTES)
            raise DataError(
                f"{shown} is too large for a list of labels: above {limit}", hint_for_arrays(path)
            )
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{shown} can't be read: {error.strerror or error}", "make it readable"
        ) from None
    if content[:10] == b"MATLAB 7.3":
        raise DataError(
            f"{shown} is a MATLAB file of version 7.3, which is not read",
            "save it in MATLAB by save(name, '-v7'), or write its labels into a .csv",
        )
    orders = {b"IM": "<", b"MI": ">"}
    try:
        if content[126:128] not in orders:
            raise _BrokenError("it has no header of MATLAB 5 to 7")
        rest = memoryview(content)[_HEAD_BYTES:]
        return dict(_variables(_Bytes(rest, orders[content[126:128]])))
    except (ValueError, struct.error, zlib.error, OverflowError) as error:
        raise DataError(
            f"{shown} can't be read as a MATLAB file: {printable(error)}", HINT
        ) from None


def _variables(content: _Bytes) -> Iterator[tuple[str, Any]]:
    left = _LARGEST_BYTES
    for kind, element in content.elements():
        matrix = element if kind == _MATRIX else None
        if kind == _COMPRESSED:
            packed = zlib.decompressobj()
            data = packed.decompress(element.data, left + 1)
            left -= len(data)
            if left < 0:
                limit = format_bytes(_LARGEST_BYTES)
                raise _BrokenError(f"it is too large for a list of labels: above {limit} unpacked")
            inside = _Bytes(memoryview(data), element.order).elements()
            matrix = next((found for own, found in inside if own == _MATRIX), None)
        if matrix is not None:
            name, value = _read_matrix(matrix, 0)
            if value is not None:
                yield name, value


def _read_matrix(content: _Bytes, depth: int) -> tuple[str, Any]:
    """The name and value of an array; None for one that is not read."""
    if not len(content.data):  # an empty cell
        return "", _EMPTY
    parts = content.elements()
    _, flags = next(parts, (0, content))
    kind = flags.unpack("I")[0] & 0xFF
    _, sizes = next(parts, (0, content))
    shape = tuple(sizes.numbers(5).tolist())
    count = int(np.prod(shape, dtype=np.float64)) if shape and min(shape) >= 0 else 0
    _, label = next(parts, (0, content))
    name = bytes(label.data).decode("ascii", "replace")
    if depth > _DEEPEST:
        raise _BrokenError("cells in one another are too deep")
    if kind == _CELL:
        cells = [_read_matrix(cell, depth + 1)[1] for _, cell in parts]
        if len(cells) != count:
            raise _BrokenError(f"{len(cells)} cells of {count}")
        return name, cells
    if kind == _STRUCT:
        return name, _read_struct(parts, count, depth)
    if kind == _CHAR:
        return name, _read_text(parts, shape)
    if _DOUBLE <= kind <= _LAST_NUMBER:
        stored, data = next(parts, (9, _Bytes(memoryview(b""), "<")))
        values = data.numbers(stored)
        if len(values) != count:
            raise _BrokenError(f"{len(values)} numbers of {count}")
        return name, values.reshape(shape, order="F").squeeze()
    return name, None


def _read_struct(parts: Iterator[tuple[int, _Bytes]], count: int, depth: int) -> Any:
    kind, size = next(parts, (0, _Bytes(memoryview(b""), "<")))
    length = int(size.numbers(kind)[0]) if len(size.data) else 0
    _, texts = next(parts, (0, size))
    if length < 1 or len(texts.data) % length:
        raise _BrokenError("names of fields")
    rows = [bytes(texts.data[k : k + length]) for k in range(0, len(texts.data), length)]
    names = [row.partition(b"\0")[0].decode("ascii", "replace") for row in rows]
    values = [_read_matrix(value, depth + 1)[1] for _, value in parts]
    if len(values) != count * len(names):
        raise _BrokenError(f"{len(values)} fields of {count * len(names)}")
    width = len(names)
    return [dict(zip(names, values[k * width :][:width], strict=True)) for k in range(count)]


def _read_text(parts: Iterator[tuple[int, _Bytes]], shape: tuple[int, ...]) -> Any:
    """A text, or a list of texts of an array with several rows, without spaces behind them."""
    kind, data = next(parts, (16, _Bytes(memoryview(b""), "<")))
    coding = _TEXTS.get(kind)
    if coding is None:
        raise _BrokenError(f"texts of type {kind}")
    if coding != "utf-8":
        coding += "-le" if data.order == "<" else "-be"
    text = bytes(data.data).decode(coding, "replace")
    rows = shape[0] if len(shape) == 2 else 1
    if rows <= 1:
        return text
    return [text[row::rows].rstrip() for row in range(rows)]
