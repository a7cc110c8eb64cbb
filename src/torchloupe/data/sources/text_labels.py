"""Datasets whose labels are texts: each text is the name of a class.

The dataset stays as it is; a view of it gives class numbers in place of the texts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, Subset

from torchloupe.data.sources.dataset_labels import (
    is_hub_dataset,
    names_of,
    read_label_column,
    refuse_names,
)
from torchloupe.data.sources.labels import sort_names
from torchloupe.data.sources.pairs import note_more, read_item, read_row, take_pair
from torchloupe.data.sources.source import name_some
from torchloupe.errors import DataError, printable
from torchloupe.units import plural


class TextLabelled:
    """A dataset whose labels are texts, with the place of each in `classes` instead."""

    def __init__(self, dataset: Any, classes: Sequence[str], targets: NDArray[np.int64]) -> None:
        self.dataset = dataset
        self.classes = tuple(classes)
        self.targets = targets

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        return read_item(self.dataset, row)[0], int(self.targets[row])


def number_texts(
    parts: Mapping[int, Any], class_names: Sequence[str]
) -> tuple[dict[int, Any], tuple[str, ...]]:
    """`parts` with class numbers where a dataset's labels are texts, and notes on it.

    Classes are `class_names` where these hold all texts, else the dataset's own `classes`, else
    the texts in order. DataError for an empty text, or where only some labels are texts.
    """
    texts = {part: _read_texts(dataset) for part, dataset in parts.items()}
    used = {text for found in texts.values() for text in found or ()}
    if not used:
        return dict(parts), ()
    own = next(
        (names for dataset in parts.values() if (names := names_of(dataset, as_given=True))), ()
    )
    lists = [tuple(names) for names in (class_names, own) if used <= set(names)]
    classes = lists[0] if lists else tuple(sort_names(sorted(used)))
    place = {name: number for number, name in enumerate(classes)}
    numbered = {}
    for part, found in texts.items():
        numbered[part] = parts[part]
        if found is not None:
            targets = np.array([place[text] for text in found], dtype=np.int64)
            numbered[part] = TextLabelled(parts[part], classes, targets)
    notes: tuple[str, ...] = ()
    for part, found in texts.items():
        if found is not None and (more := note_more(read_row(parts[part], 0))):
            refuse_names(found)
            notes = more
    note = (
        f"the labels are texts: {plural(len(classes), 'class', 'classes')} by name, "
        f"{name_some(classes)}"
    )
    return numbered, (note, *notes)


def _read_texts(dataset: Any) -> list[str] | None:
    """The label of each row where the first one is a text; None for labels of other kinds."""
    if not len(dataset):
        return None
    try:
        first = as_text_label(read_item(dataset, 0)[1])
    except DataError:  # named where the labels are read
        return None
    if first is None:
        return None
    values = known_values(dataset)
    if values is None or len(values) != len(dataset) or as_text_label(values[0]) != first:
        values = [read_item(dataset, row)[1] for row in range(len(dataset))]
    texts = []
    for row, value in enumerate(values):
        text = as_text_label(value)
        if not text:
            raise DataError(
                f"row {row} has the label {printable(value, 60)!r}, and row 0 the text "
                f"{printable(first, 60)!r}",
                "let the dataset give a class number or a class name for every image",
            )
        texts.append(text)
    return texts


def known_values(dataset: Any) -> list[Any] | None:
    """The labels of all rows where the dataset gives them without reading images."""
    if isinstance(dataset, Subset):
        inner = known_values(dataset.dataset)
        return None if inner is None else [inner[index] for index in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        found = [known_values(part) for part in dataset.datasets]
        known = [part for part in found if part is not None]
        return [value for part in known for value in part] if len(known) == len(found) else None
    if is_hub_dataset(dataset):
        column = read_label_column(dataset)
        return None if column is None else list(column)
    if isinstance(dataset, (list, tuple)):
        pairs = [take_pair(item) for item in dataset]
        return [pair[1] for pair in pairs if pair is not None]
    for name in ("targets", "labels"):
        values = getattr(dataset, name, None)
        if values is not None and getattr(dataset, "target_transform", None) is None:
            return list(values) if hasattr(values, "__len__") else None
    return None


def as_text_label(label: Any) -> str | None:
    """A label that is a text, bytes decoded; None for any other."""
    if isinstance(label, bytes):
        return label.decode("utf-8", "backslashreplace")
    return str(label) if isinstance(label, str) else None
