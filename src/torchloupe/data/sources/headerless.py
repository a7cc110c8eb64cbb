"""Names for the columns of a table without a header, found from its first rows."""

import re
from collections.abc import Sequence

from torchloupe.data.sources.split_names import read_split
from torchloupe.data.split import TRAIN

_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def name_columns(image: int, rows: Sequence[Sequence[str]]) -> list[str]:
    """`image`, `split` and `label` where these are certain, `column N` for the others.

    `image` is the column of images; `rows` are rows of equal length. The label is the only column
    left, or the only one of words, beside splits and a count of the rows before the image.
    """
    columns = [[cell.strip() for cell in column] for column in zip(*rows, strict=True)]
    names = [f"column {number + 1}" for number in range(len(columns))]
    names[image] = "image"
    others = [number for number in range(len(columns)) if number != image]
    splits = [number for number in others if _are_splits(columns[number])]
    if len(splits) == 1 and len(others) > 1:
        names[splits[0]] = "split"
        others.remove(splits[0])
    if len(others) > 1:
        others = [n for n in others if n > image or not _are_counted(columns[n])] or others
    worded = [n for n in others if not all(map(_NUMBER.fullmatch, filter(None, columns[n])))]
    label = others if len(others) == 1 else worded
    if len(label) == 1:
        names[label[0]] = "label"
    return names


def _are_splits(cells: Sequence[str]) -> bool:
    parts = {read_split(cell) for cell in cells}
    return TRAIN in parts and None not in parts


def _are_counted(cells: Sequence[str]) -> bool:
    """Whether cells count the rows, from 0 or 1."""
    return any(list(cells) == [str(k + first) for k in range(len(cells))] for first in (0, 1))
