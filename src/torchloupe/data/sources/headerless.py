"""Tables without a header: whether the first line is one, and names for the columns."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.split_names import read_split
from torchloupe.data.split import TRAIN

_HEADERS = frozenset(
    (
        *("image", "path", "file", "filename", "id", "name", "image_id", "index"),
        *("label", "class", "target", "category", "split"),
    )
)
_HEX = re.compile("[0-9a-fA-F]+")
_MOST_PLACES = 10  # folders that are looked into
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def find_images(
    first: Sequence[str], rows: Sequence[Sequence[str]], folder: Path | None = None
) -> int:
    """The column of images where the `first` line is none of names of columns; -1 if it is.

    It names an image, or an id that is written as those in the `rows` below: `IMG_0001`, `a7`; or
    a number or hash after which a file in `folder`, or a folder in it, is called.
    """
    named = [number for number, cell in enumerate(first) if _is_image_name(cell)]
    if named:
        return named[0]
    if any(cell.strip().lower() in _HEADERS for cell in first):
        return -1
    for k in range(len(first)):
        if is_alike(k, first, rows) or (folder and _is_called_so(k, first, rows, folder)):
            return k
    return -1


def is_alike(column: int, first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the ids in a column are letters and digits, written alike from the first line on."""
    shape = _shape_of(first[column])
    if "0" not in shape or not any(map(str.isalpha, shape)):
        return False
    below = [row[column] for row in rows if len(row) == len(first)]
    is_one = len(below) > 1 and all(_shape_of(cell) == shape for cell in below)
    return is_one and len({first[column], *below}) == len(below) + 1


def _is_called_so(
    column: int, first: Sequence[str], rows: Sequence[Sequence[str]], folder: Path
) -> bool:
    """Whether cells are distinct numbers or hashes, and an image is called like the first."""
    cells = [row[column].strip() for row in (first, *rows) if len(row) == len(first)]
    are_ids = len(set(cells)) == len(cells) > 1 and all(map(_HEX.fullmatch, cells))
    if not are_ids:
        return False
    places = [folder, *sorted(place for place in folder.iterdir() if place.is_dir())[:_MOST_PLACES]]
    return any((place / f"{cells[0]}{end}").is_file() for place in places for end in IMAGE_SUFFIXES)


def _shape_of(cell: str) -> str:
    return re.sub(r"\d+", "0", cell.strip())


def _is_image_name(cell: str) -> bool:
    """Whether a cell of the first line names an image, or a folder as `train/patient1/`."""
    plain = cell.strip()
    is_folder = len(plain) > 1 and plain.endswith("/")
    return is_folder or os.path.splitext(plain)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122


def name_columns(image: int, rows: Sequence[Sequence[str]]) -> list[str]:
    """`image`, `split` and `label` where these are certain, `column N` for the others.

    `image` is the column of images; `rows` are rows of equal length. The label is the only column
    left, or the only one of words, beside splits and a count of the rows before the image.
    """
    columns = [[cell.strip() for cell in column] for column in zip(*rows, strict=True)]
    names = [f"column {number + 1}" for number in range(len(columns))]
    names[image] = "image"
    others = [number for number in range(len(columns)) if number != image]
    splits = [number for number in others if are_splits(columns[number])]
    if len(splits) == 1 and len(others) > 1:
        names[splits[0]] = "split"
        others.remove(splits[0])
    if len(others) > 1:
        others = [n for n in others if n > image or not are_counted(columns[n])] or others
    worded = [n for n in others if not all(map(_NUMBER.fullmatch, filter(None, columns[n])))]
    label = others if len(others) == 1 else worded
    if len(label) == 1:
        names[label[0]] = "label"
    return names


def are_splits(cells: Sequence[str]) -> bool:
    """Whether each cell names a split, and train is among them."""
    parts = {read_split(cell) for cell in cells}
    return TRAIN in parts and None not in parts


def are_counted(cells: Sequence[str]) -> bool:
    """Whether cells count the rows, from 0 or 1."""
    return any(list(cells) == [str(k + first) for k in range(len(cells))] for first in (0, 1))
