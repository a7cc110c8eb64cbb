"""The index of a frame of pandas, whose levels may be the split, groups, images or labels."""

from collections.abc import Mapping
from typing import Any

from torchloupe.data.sources.column_names import SPLIT_COLUMNS, names_groups
from torchloupe.data.sources.column_roles import IMAGE_COLUMNS, LABEL_COLUMNS, plain_name
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


def read_index(frame: Any) -> dict[str, list[Any]]:
    """The levels of a frame's index that say something of each row, by name; mostly {}.

    A level is known by its name, or by cells that are train, val and test.
    """
    index = getattr(frame, "index", None)
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
