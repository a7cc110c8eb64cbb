"""Columns of a table that name files, too, and other ones than the column of images does."""

import os

from torchloupe.data.sources.columns import Table
from torchloupe.data.sources.headerless import are_counted
from torchloupe.data.sources.image_names import plain

_FEWEST_ROWS = 5  # in fewer ones numbers and flags name files by chance


def find_rivals(table: Table, image: str) -> list[str]:
    """The columns whose cells may name files as well, and other ones than those of `image`.

    These are distinct, none is empty, and they don't count the rows.
    """
    own = [_stem(cell) for cell in table.preview[image].tolist()]
    found = []
    for name, values in table.preview.items() if len(own) >= _FEWEST_ROWS else ():
        cells = values.tolist()
        if name == image or not all(cells) or len(set(cells)) < len(cells) or are_counted(cells):
            continue
        if [_stem(cell) for cell in cells] != own:
            found.append(name)
    return found


def _stem(cell: str) -> str:
    """What a cell names, without folders, ending and zeros before a number."""
    last = cell.replace("\\", "/").rpartition("/")[2]
    stem = plain(os.path.splitext(last)[0])  # noqa: PTH122
    return stem.lstrip("0") if stem.isdigit() else stem
