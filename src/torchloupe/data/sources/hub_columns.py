"""Columns of Hugging Face datasets beside their images and labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, Subset

from torchloupe.data.sources.columns import PREVIEW_ROWS
from torchloupe.data.sources.dataset_labels import is_hub_dataset, read_label_column
from torchloupe.data.sources.pairs import find_image_key, find_label_key
from torchloupe.data.sources.side_columns import (
    Beside,
    Texts,
    as_cells,
    find_side_roles,
    read_beside,
)
from torchloupe.data.split import SPLIT_NAMES, TRAIN

NO_LABEL = -1  # stands for it, as in test sets whose labels are kept back


def read_hub_columns(parts: Mapping[int, Any], class_names: Sequence[str]) -> Beside:
    """What the columns of Hugging Face datasets, one or one a split, say of each row of all.

    Nothing for any other datasets. DataError for a split column whose cells name no split.
    """
    whole = next(iter(parts.values())) if len(parts) == 1 else ConcatDataset(list(parts.values()))
    label = _label_of(whole)
    columns = _columns(whole) if label else {}
    if not columns:
        return Beside()
    if len(parts) == 1:
        return read_beside(columns, label, "the dataset", class_names=class_names)
    split = find_side_roles(columns, label, "the dataset").split
    rest = {n: texts for n, texts in columns.items() if n not in (*split.names, *split.doubtful)}
    return read_beside(rest, label, "the datasets", class_names=class_names)


def without_unlabelled(parts: Mapping[int, Any]) -> tuple[Mapping[int, Any], tuple[str, ...]]:
    """The datasets without those for val or test whose labels are all -1 or missing, and notes."""
    notes, kept = list[str](), dict[int, Any]()
    for part, dataset in parts.items():
        values = read_label_column(dataset) if part != TRAIN and is_hub_dataset(dataset) else None
        if values and all(value is None or value == NO_LABEL for value in values):
            notes.append(f"{SPLIT_NAMES[part]} is not used: it has no labels (all are {values[0]})")
        else:
            kept[part] = dataset
    return kept, tuple(notes)


def names_by_number(labels: NDArray[Any], beside: Beside) -> tuple[str, ...]:
    """The names of the classes that `labels` [N] number, by a column of names; () without one."""
    if beside.names is None or labels.ndim != 1 or labels.min() < 0:
        return ()
    found = dict(zip(labels.tolist(), beside.names.tolist(), strict=True))
    return tuple(found.get(number, str(number)) for number in range(int(labels.max()) + 1))


def _label_of(dataset: Any) -> str:
    """The column of labels; "" for what is no dataset of Hugging Face."""
    if isinstance(dataset, Subset):
        return _label_of(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        found = {_label_of(part) for part in dataset.datasets}
        return found.pop() if len(found) == 1 else ""
    return str(find_label_key(dataset.column_names) or "") if is_hub_dataset(dataset) else ""


def _columns(dataset: Any) -> dict[str, Texts]:
    """The columns that are the label, or may be about splits, groups and names, as texts [N].

    Of a large dataset the first rows decide.
    """
    if isinstance(dataset, Subset):
        rows = np.asarray(dataset.indices, dtype=np.int64)
        return {name: texts[rows] for name, texts in _columns(dataset.dataset).items()}
    if isinstance(dataset, ConcatDataset):
        parts = [_columns(part) for part in dataset.datasets]
        common = [name for name in parts[0] if all(name in part for part in parts)]
        return {name: np.concatenate([part[name] for part in parts]) for name in common}
    if not hasattr(dataset, "select") or len(dataset) <= PREVIEW_ROWS:
        return _read_all(dataset, dataset.column_names)
    first = _read_all(dataset.select(range(PREVIEW_ROWS)), dataset.column_names)
    label = _label_of(dataset)
    roles = find_side_roles(first, label, "the dataset")
    return _read_all(dataset, [label, *roles.columns])


def _read_all(dataset: Any, names: Sequence[str]) -> dict[str, Texts]:
    """Those of some columns that are texts, numbers and flags."""
    try:
        plain = dataset.with_format(None) if hasattr(dataset, "with_format") else dataset
        image = find_image_key(dataset.column_names)
        read = {name: _read(plain, name) for name in names if name != image}
    except Exception:  # a format or transform of the user's own, which may raise anything
        return {}
    return {name: texts for name, texts in read.items() if texts is not None}


def _read(dataset: Any, name: str) -> Texts | None:
    """The cells of a column, by the names of a ClassLabel; None for images, lists and so on."""
    feature = dataset.features.get(name)
    kind = str(getattr(feature, "dtype", ""))
    if isinstance(feature, Mapping) or not kind.startswith(
        ("string", "large_string", "int", "uint", "bool", "float")
    ):
        return None
    values = list(dataset[name])
    known = getattr(feature, "names", None)
    if known:
        values = [known[v] if isinstance(v, int) and 0 <= v < len(known) else v for v in values]
    return as_cells(values)
