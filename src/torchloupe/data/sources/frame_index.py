"""Rows and columns from Python that are no frame: lists of dicts, and the index of a frame.

Levels of an index may be the split, groups, images or labels.
"""

from collections.abc import Mapping
from typing import Any

from torchloupe.data.sources.column_names import SPLIT_COLUMNS, names_groups
from torchloupe.data.sources.column_roles import IMAGE_COLUMNS, LABEL_COLUMNS, plain_name
from torchloupe.data.sources.lists import is_image
from torchloupe.data.sources.pairs import take_pair
from torchloupe.data.sources.split_names import read_split
from torchloupe.data.split import TRAIN


class ColumnFrame:
    """Columns by name, which behave like a frame's."""

    iloc = None  # by which a frame is known

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._columns = dict(columns)
        self.columns = list(self._columns)

    def __getitem__(self, name: str) -> Any:
        return self._columns[name]

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()), ()))


def read_rows(value: Any) -> ColumnFrame | None:
    """Columns of a list of dicts with an image and a label each, and a split, group or name.

    None for anything else, also for dicts of images and labels alone.
    """
    if not isinstance(value, (list, tuple)) or not value:
        return None
    rows = [row for row in value if isinstance(row, Mapping)]
    pairs = [pair for row in rows if (pair := take_pair(row)) is not None and is_image(pair[0])]
    told = {key for row in rows for key in row if _is_known(plain_name(str(key)))}
    if len(pairs) < len(value) or not told:
        return None
    columns = {str(key): [row.get(key) for row in rows] for key in told}
    columns |= {"image": [image for image, _ in pairs], "label": [label for _, label in pairs]}
    return ColumnFrame(columns)


def _is_known(plain: str) -> bool:
    """Whether a column's plain name is that of a split, of groups or of names beside numbers."""
    return plain in (*SPLIT_COLUMNS, "label_name", "class_name") or names_groups(plain)


def read_index(frame: Any) -> dict[str, list[Any]]:
    """The levels of a frame's index that say something of each row, by name; mostly {}.

    A level is known by its name, or by cells that are train, val and test.
    """
    index: Any = getattr(frame, "index", None)
    if not hasattr(index, "nlevels") or type(index).__name__ == "RangeIndex":
        return {}
    taken = {str(name).lower() for name in frame.columns}
    found: dict[str, list[Any]] = {}
    for level in range(index.nlevels):
        values = list(index.get_level_values(level))
        name = "" if index.names[level] is None else str(index.names[level])
        if not name and _are_splits(values):
            name = "split"
        plain = plain_name(name)
        is_known = plain in (*SPLIT_COLUMNS, *IMAGE_COLUMNS, *LABEL_COLUMNS) or names_groups(plain)
        if name and name.lower() not in taken and (is_known or _are_splits(values)):
            found[name] = values
    return found


def _are_splits(values: list[Any]) -> bool:
    """Whether all cells name splits, and train is one of them."""
    words = set(values) if all(isinstance(value, str) for value in values) else set()
    parts = {read_split(word) for word in words}
    return TRAIN in parts and None not in parts
