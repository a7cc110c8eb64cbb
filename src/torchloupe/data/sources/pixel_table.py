"""Tables that hold pixels: a column a pixel, or one column of numbers separated by spaces.

The images are square; their side follows from how many numbers there are.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from math import isqrt
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from torchloupe.data.sources.arrays import Part, ReadLabels, open_arrays
from torchloupe.data.sources.column_roles import IMAGE_COLUMNS, is_row_number
from torchloupe.data.sources.columns import Table, as_texts
from torchloupe.data.sources.pixel_order import order_pixels, read_pixel_name
from torchloupe.data.sources.side_columns import Beside
from torchloupe.data.sources.source import Data, name_some, stamp_file
from torchloupe.data.split import TEST, TRAIN, VAL
from torchloupe.errors import DataError, printable

_FEWEST = 16  # numbers in an image of 4 x 4
_NUMBERS = re.compile(r"\[?\s*-?\d+(\.\d+)?([\s,]+-?\d+(\.\d+)?){15,}\s*\]?")


def find_pixel_columns(table: Table) -> list[str]:
    """The columns of pixels, in order: one of many numbers, or one a pixel; [] for none."""
    for name in table.columns:
        values = table.preview.get(name)
        if values is not None and len(values) and _NUMBERS.fullmatch(str(values[0])):
            return [name]
    if not table.has_header:
        return [] if "image" in table.columns else _without_label(table)
    if any(name.lower() in IMAGE_COLUMNS for name in table.columns):
        return []
    groups: dict[tuple[str, str], list[str]] = {}
    for name in table.columns:
        if numbered := read_pixel_name(name):
            groups.setdefault(numbered.texts, []).append(name)
    largest = max(groups.values(), key=len, default=[])
    if len(largest) < _FEWEST or len(largest) < 0.5 * len(table.columns):
        return []
    return order_pixels(largest) if _are_numbers(table, largest) else []


def open_pixels(
    table: Table,
    columns: Sequence[str],
    read: ReadLabels,
    beside: Beside,
    *,
    layout: str = "auto",
) -> Data:
    """Data from the pixels in `columns`, with the labels that were read and what is beside them."""
    shown = printable(table.path)
    flat = _read_one(table, columns[0]) if len(columns) == 1 else _read_many(table, columns)
    images, layout = _as_squares(flat, layout, shown)
    labels, names, notes = read
    order = beside.order
    parts = [Part(TRAIN, images, labels)]
    if beside.given is not None:
        rows = {part: np.flatnonzero(beside.given == part) for part in (TRAIN, VAL, TEST)}
        parts = [Part(part, images[at], labels[at]) for part, at in rows.items() if len(at)]
    is_sorted = list(columns) != [name for name in table.columns if name in set(columns)]
    try:
        data = open_arrays(
            parts,
            name=table.path.stem,
            stamp=stamp_file(str(table.path)) + (" sorted" if is_sorted else ""),
            layout=layout,
            read=(labels[order], names, notes),
        )
    except DataError as error:
        raise DataError(f"{shown}: {error.message}", error.hint) from None
    data = beside.add_groups(data, order)
    note = (
        f"the pixels are in the order of their numbers, {name_some(columns[:3])} and so on, which "
        "is not that of the columns"
    )
    return replace(data, notes=(note, *data.notes)) if is_sorted else data


def read_pixel_cells(cells: list[Any]) -> list[Any]:
    """Square grey images from cells of numbers separated by spaces; any other cells as they are."""
    if not cells or not isinstance(cells[0], str) or not _NUMBERS.fullmatch(cells[0]):
        return cells
    rows = []
    for cell in cells:
        if not isinstance(cell, str) or not _NUMBERS.fullmatch(cell):
            return cells
        rows.append(np.array(cell.strip(" []").replace(",", " ").split(), dtype=np.float32))
    side = isqrt(len(rows[0]))
    if any(len(row) != side**2 for row in rows):
        return cells
    pixels = np.stack(rows).reshape(-1, side, side)
    is_whole = pixels.min() >= 0 and pixels.max() <= 255 and (pixels % 1 == 0).all()
    return list(pixels.astype(np.uint8) if is_whole else pixels)


def _without_label(table: Table) -> list[str]:
    """The columns of a table without a header but its labels, which are the first or the last."""
    columns = table.columns
    able = {}
    for label in (columns[0], columns[-1]):
        rest = [name for name in columns if name != label]
        values = table.preview[label]
        is_label = bool(len(values)) and all(re.fullmatch(r"\d{1,4}", str(v)) for v in values)
        numbers = sorted({int(v) for v in values}) if is_label else []
        if 1 < len(numbers) <= 256 and _channels_of(len(rest)):
            # Labels count from 0 or 1 without a gap; a pixel seldom does.
            able[numbers[0] <= 1 and numbers == list(range(numbers[0], numbers[-1] + 1)), label] = (
                rest
            )
    likely = [rest for (is_counted, _), rest in able.items() if is_counted]
    chosen = list(able.values()) if len(able) == 1 else likely
    if len(chosen) != 1:
        raise DataError(
            f"{printable(table.path)} holds {len(columns):,} numbers per row and no header",
            "give it a header line: label,pixel0,pixel1 and so on",
        )
    return chosen[0]


def _are_numbers(table: Table, columns: Sequence[str]) -> bool:
    texts = [table.preview.get(name) for name in (columns[0], columns[len(columns) // 2])]
    return all(
        values is not None
        and all(re.fullmatch(r"-?\d+(\.\d*)?([eE]-?\d+)?", str(v)) for v in values)
        for values in texts
    )


def _read_many(table: Table, columns: Sequence[str]) -> NDArray[Any]:
    raw = [table.raw_name(name) for name in columns]
    if not table.is_text:
        found = table.read(list(columns))
    else:
        try:
            found = table.read_typed(raw, dict.fromkeys(raw, pa.int16()))
        except pa.ArrowException:
            try:
                found = table.read_typed(raw, dict.fromkeys(raw, pa.float32()))
            except pa.ArrowException as error:
                raise _not_numbers(table, error) from None
    pixels = np.empty((found.num_rows, len(columns)), dtype=np.float32)
    for number, column in enumerate(found.columns):
        pixels[:, number] = column.to_numpy()
    return _as_bytes(pixels, table)


def _read_one(table: Table, column: str) -> NDArray[Any]:
    texts = as_texts(table.read([column])[column], column)
    rows: list[NDArray[Any]] = []
    for number, text in enumerate(texts.tolist()):
        plain = text.strip(" []").replace(",", " ").split()
        try:
            row = np.array(plain, dtype=np.float32)
        except ValueError as error:
            raise _not_numbers(table, error) from None
        if rows and len(row) != len(rows[0]):
            raise DataError(
                f"{printable(table.path)} has {len(row):,} pixels in row {number + 1} below the "
                f"header, and {len(rows[0]):,} in the first",
                "give all images the same number of pixels",
            )
        rows.append(_as_bytes(row, table))
    return np.stack(rows) if rows else np.zeros((0, 1), dtype=np.uint8)


def _as_bytes(pixels: NDArray[np.float32], table: Table) -> NDArray[Any]:
    """uint8 where the values are whole numbers up to 255; DataError if one is missing."""
    if not np.isfinite(pixels).all():
        raise _not_numbers(table, ValueError("a pixel is missing or not a number"))
    if len(pixels) and pixels.min() >= 0 and pixels.max() <= 255 and (pixels % 1 == 0).all():
        return pixels.astype(np.uint8)
    return pixels


def _channels_of(count: int) -> int:
    """1 or 3 for a number of values that is a square, or three times one; else 0."""
    if isqrt(count) ** 2 == count:
        return 1
    return 3 if count % 3 == 0 and isqrt(count // 3) ** 2 == count // 3 else 0


def _as_squares(flat: NDArray[Any], layout: str, shown: str) -> tuple[NDArray[Any], str]:
    count = flat.shape[1]
    channels = _channels_of(count)
    side = isqrt(count // max(channels, 1))
    if not channels:
        raise DataError(
            f"{shown} has {count:,} pixels per image, which is not a square in grey or in colour",
            "save the images as an .npz of [N, H, W] or [N, H, W, C]",
        )
    if channels == 1:
        if layout in ("NHWC", "NCHW"):
            raise DataError(
                f"{shown} has {count:,} pixels per image: {side} x {side} in grey",
                "leave layout out",
            )
        return flat.reshape(-1, side, side), "auto"
    if layout not in ("NHWC", "NCHW"):
        raise DataError(
            f"{shown} has {count:,} numbers per image: {side} x {side} in 3 colours, in one of two "
            "orders",
            "say which: data.layout=NHWC (red, green, blue of each pixel) or data.layout=NCHW (all "
            "red first)",
        )
    shape = (-1, side, side, 3) if layout == "NHWC" else (-1, 3, side, side)
    return flat.reshape(shape), layout


def label_candidates(table: Table, pixels: Sequence[str]) -> list[str]:
    """The columns that are neither pixels nor row numbers."""
    taken = set(pixels)
    return [n for n in table.columns if n not in taken and not is_row_number(table, n)]


def _not_numbers(table: Table, error: Exception) -> DataError:
    return DataError(
        f"{printable(table.path)} has pixels that can't be read: {printable(error, 120)}",
        "pixels are numbers, the same count in each row",
    )
