"""Datasets whose labels are lists of class names or numbers: an image may have several.

The dataset stays as it is; a view of it gives a row of 0 and 1 in place of each list.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.sources.dataset_labels import names_of
from torchloupe.data.sources.label_sets import holds_lists, label_sets, read_sets
from torchloupe.data.sources.pairs import note_more, read_item, read_row
from torchloupe.data.sources.text_labels import known_values
from torchloupe.errors import DataError


class ListLabelled:
    """A dataset whose labels are lists, with a row [K] of 0 and 1 or a class number instead."""

    def __init__(self, dataset: Any, classes: Sequence[str], targets: NDArray[Any]) -> None:
        self.dataset = dataset
        self.classes = tuple(classes)
        self.targets = targets

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> tuple[Any, Any]:
        return read_item(self.dataset, row)[0], self.targets[row]


def number_lists(
    parts: Mapping[int, Any], class_names: Sequence[str]
) -> tuple[dict[int, Any], tuple[str, ...]] | None:
    """`parts` with rows of 0 and 1 for lists of labels, and notes; None for other labels.

    Classes are `class_names`, else the dataset's own where these are all, else those found.
    """
    values: dict[int, list[Any]] = {}
    for part, dataset in parts.items():
        found = _read_values(dataset)
        if found is None:
            return None
        values[part] = found
    rows = [value for found in values.values() for value in found]
    own = next((names for dataset in parts.values() if (names := names_of(dataset))), ())
    sets = read_sets(rows, is_sure=bool(class_names or own))
    if sets is None:
        return None
    used = {word for labels in sets for word in labels}
    if own and not class_names and not used <= set(own) and all(map(str.isdecimal, used)):
        highest = max(map(int, used))
        if highest >= len(own):
            raise DataError(
                f"labels go up to {highest}, and there are {len(own)} class names",
                "name every class, counted from 0",
            )
        class_names = own
    elif own and not class_names and used <= set(own):
        class_names = own
    labels, classes, notes = label_sets(sets, class_names)
    numbered, start = {}, 0
    for part, found in values.items():
        targets = labels[start : start + len(found)]
        numbered[part] = ListLabelled(parts[part], classes, targets)
        start += len(found)
    return numbered, (*notes, *note_more(read_row(next(iter(parts.values())), 0)))


def _read_values(dataset: Any) -> list[Any] | None:
    """The label of each row, without reading images if possible; None unless some are lists."""
    if not len(dataset):
        return None
    try:
        first = read_item(dataset, 0)[1]
    except DataError:  # named where the labels are read
        return None
    values = known_values(dataset)
    if values is None or len(values) != len(dataset) or _plain(values[0]) != _plain(first):
        if not holds_lists([first]):
            return None
        values = [read_item(dataset, row)[1] for row in range(len(dataset))]
    return list(values) if holds_lists(values) else None


def _plain(label: Any) -> Any:
    return list(label) if isinstance(label, (list, tuple)) else np.asarray(label).tolist()
