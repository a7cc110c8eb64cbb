"""Labels and class names of a user's own dataset, found without reading its images if possible.

They are looked up in the places that torch, torchvision, medmnist and Hugging Face use, and
checked on a few rows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from torchloupe.data.sources.pairs import (
    find_label_key,
    note_more,
    read_item,
    read_row,
    take_pair,
    to_pair,
)
from torchloupe.data.sources.unused_columns import note_unused_entries
from torchloupe.errors import DataError, printable
from torchloupe.units import plural


def known_labels(dataset: Any) -> NDArray[Any] | None:
    """The labels a dataset gives without reading images: [N] int64, [N, K] float32, or None."""
    values: Any = None
    if isinstance(dataset, Subset):
        inner = known_labels(dataset.dataset)
        return None if inner is None else inner[np.asarray(dataset.indices, dtype=np.int64)]
    if isinstance(dataset, ConcatDataset):
        found = [known_labels(part) for part in dataset.datasets]
        some = [part for part in found if part is not None]
        if len(some) < len(found) or len({np.shape(part)[1:] for part in some}) > 1:
            return None
        return np.concatenate(some)
    if is_hub_dataset(dataset):
        values = read_label_column(dataset)
    elif isinstance(dataset, (list, tuple)):
        pairs = [take_pair(item) for item in dataset]
        values = [pair[1] for pair in pairs if pair is not None]
    elif getattr(dataset, "target_transform", None) is None:
        tensors: Any = getattr(dataset, "tensors", ())
        values = tensors[1] if len(tensors) == 2 else None
        for attribute in ("targets", "labels"):
            values = getattr(dataset, attribute, None) if values is None else values
    try:
        labels = as_labels(values)
    except (ValueError, TypeError):
        return None
    return labels if len(labels) == len(dataset) else None


def names_of(dataset: Any, *, as_given: bool = False) -> tuple[str, ...]:
    """The class names a dataset has in `.classes` (or `.features`, or medmnist's `.info`), or
    the datasets inside it have; () if none.

    Names of numbers that a `target_transform` changes are left out, unless `as_given`.
    """
    if isinstance(dataset, Subset):
        return names_of(dataset.dataset, as_given=as_given)
    if isinstance(dataset, ConcatDataset):
        found = [names_of(part, as_given=as_given) for part in dataset.datasets]
        return found[0] if all(names == found[0] for names in found) else ()
    if not as_given and not _keeps_numbers(dataset):
        return ()
    classes = (
        _names_by_number(dataset)
        or getattr(dataset, "classes", None)
        or _names_of_hub(dataset)
        or _names_of_med(dataset)
    )
    if not isinstance(classes, (list, tuple)) or len(set(map(str, classes))) < len(classes):
        return ()
    return tuple(str(name) for name in classes)


def keeps_names(dataset: Any, labels: NDArray[Any]) -> bool:
    """Whether the labels of the items are the numbers that the dataset's class names are of.

    Unknown is yes: a dataset that tells no numbers means those of its items.
    """
    known = known_labels(dataset)
    if known is None:
        return True
    known, labels = (each.argmax(1) if is_one_hot(each) else each for each in (known, labels))
    return known.shape == labels.shape and bool((known == labels).all())


def _keeps_numbers(dataset: Any) -> bool:
    """Whether a dataset has no `target_transform`, or one that gives each number back."""
    transform = getattr(dataset, "target_transform", None)
    if transform is None:
        return True
    values = getattr(dataset, "targets", None)
    try:
        numbers = as_labels(getattr(dataset, "labels", None) if values is None else values)
        used = np.unique(numbers).tolist() if numbers.ndim == 1 else None
        return used is not None and all(class_number(transform(k)) == k for k in used)
    except Exception:  # code of the user's own, which may raise anything
        return False


def _names_by_number(dataset: Any) -> list[str] | None:
    """The names in order of their numbers where the dataset says these, as `class_to_idx` does."""
    found = getattr(dataset, "class_to_idx", None)
    if isinstance(found, Mapping):
        numbers = {number: name for name, number in found.items()}
    else:
        kinds = ("classes", "idx_to_class", "id2label")
        listed = [v for kind in kinds if isinstance(v := getattr(dataset, kind, None), Mapping)]
        numbers = {
            int(k) if isinstance(k, str) and k.isdigit() else k: v
            for k, v in (listed[0] if listed else {}).items()
        }
    is_whole = bool(numbers) and set(numbers) == set(range(len(numbers)))
    return [str(numbers[k]) for k in range(len(numbers))] if is_whole else None


def is_hub_dataset(dataset: Any) -> bool:
    """Whether this is a `datasets.Dataset` of Hugging Face, or behaves like one."""
    return isinstance(getattr(dataset, "features", None), Mapping) and hasattr(
        dataset, "column_names"
    )


def read_label_column(dataset: Any) -> Any:
    """The column of labels of a Hugging Face dataset, as it is stored; None where there is none."""
    key = find_label_key(dataset.column_names)
    if key is None:
        return None
    try:
        plain = dataset.with_format(None) if hasattr(dataset, "with_format") else dataset
        return list(plain[key])
    except Exception:  # a format or transform of the user's: the items say it then
        return None


def _names_of_hub(dataset: Any) -> Any:
    if not isinstance(getattr(dataset, "features", None), Mapping):
        return None
    feature = dataset.features.get(find_label_key(dataset.features))
    return getattr(feature, "names", None) or getattr(
        getattr(feature, "feature", None), "names", None
    )


def _names_of_med(dataset: Any) -> Any:
    """medmnist's `info["label"]`: class names by number, as text."""
    info = getattr(dataset, "info", None)
    label = info.get("label") if isinstance(info, Mapping) else None
    if not isinstance(label, Mapping):
        return None
    names = {str(number): str(name) for number, name in label.items()}
    wanted = [str(number) for number in range(len(names))]
    return [names[number] for number in wanted] if set(names) == set(wanted) else None


def find_labels(dataset: Any, where: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Labels of all rows, as the dataset gives them or else read one by one; then with a note."""
    count, more = len(dataset), tuple[str, ...]()
    labels = known_labels(dataset)
    try:
        if labels is not None and not isinstance(dataset, (list, tuple)):
            rows = sorted({0, count // 2, count - 1})
            first = read_row(dataset, 0)
            seen = [to_pair(first, 0), *(read_item(dataset, row) for row in rows[1:])]
            shown = as_labels([label for _, label in seen])
            if shown.shape != labels[rows].shape or not (shown == labels[rows]).all():
                labels = None  # they are changed on the way, or are something else
            more = _note_entries(dataset, first)
        if labels is not None:
            return _checked(labels), more
        first = read_row(dataset, 0)
        more = _note_entries(dataset, first)
        values = [to_pair(first, 0)[1]]
        as_labels(values)  # a label that is none is told at once
        values += [read_item(dataset, row)[1] for row in range(1, count)]
        labels = _checked(as_labels(values))
        if more:
            refuse_names(labels.tolist())
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{where}: labels can't be used: {printable(error)}",
            "let __getitem__ return image, label with label a class number from 0",
        ) from None
    except DataError as error:
        raise DataError(f"{where}: {error.message}", error.hint) from error
    note = f"{where}: all {plural(count, 'sample')} were read once to learn their labels; "
    return labels, (*more, note + "a `targets` attribute avoids that")


def _note_entries(dataset: Any, item: Any) -> tuple[str, ...]:
    """Notes on what an item holds beside image and label; columns of Hugging Face are used."""
    inside = dataset
    while isinstance(inside, (Subset, ConcatDataset)):
        inside = inside.dataset if isinstance(inside, Subset) else inside.datasets[0]
    return (*note_more(item), *(() if is_hub_dataset(inside) else note_unused_entries(item)))


def refuse_names(labels: Sequence[Any]) -> None:
    """DataError where the second of several values in an item names the image, not its class."""
    if len(labels) > 2 and len(set(map(str, labels))) == len(labels):
        raise DataError(
            f"items hold more than an image and a label, and each of the {len(labels)} has another "
            "second value: it is a number or name of the image",
            "let __getitem__ return image, label",
        )


def as_labels(values: Any) -> NDArray[Any]:
    """[N] int64 or [N, K] float32; ValueError or TypeError if values are no labels."""
    if values is None or isinstance(values, (str, bytes, Mapping)):
        raise TypeError("there are none")
    if isinstance(values, (list, tuple)):
        values = [value.detach().cpu() if hasattr(value, "detach") else value for value in values]
        values = np.array([np.asarray(value) for value in values])
    labels = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if labels.ndim == 2 and labels.shape[-1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind not in "biuf":
        raise TypeError(f"found {printable(labels.flat[0] if labels.size else labels.dtype)!r}")
    if labels.ndim == 1:
        numbers = labels.astype(np.int64)
        if not (numbers == labels).all():
            raise ValueError(f"found {labels[numbers != labels][0]}, not a whole number")
        return numbers
    if labels.ndim != 2 or not ((labels >= 0) & (labels <= 1)).all():
        raise ValueError(f"found labels of shape {list(np.shape(labels)[1:])} an image")
    return labels.astype(np.float32)


def is_one_hot(labels: NDArray[Any]) -> bool:
    """Whether each row [N, K] has exactly one 1 and else 0; never of a single column."""
    return bool(
        labels.ndim == 2
        and labels.size > len(labels) > 0
        and ((labels == 0) | (labels == 1)).all()
        and (labels.sum(axis=1) == 1).all()
    )


def class_number(label: Any) -> Any:
    """The class number in a one-hot label [K] or in one of shape [1]; any other as it is."""
    if not hasattr(label, "__len__") or isinstance(label, (str, bytes)) or np.ndim(label) != 1:
        return label
    row = np.asarray(label.detach().cpu() if hasattr(label, "detach") else label)
    if len(row) == 1 and row.dtype.kind in "biuf" and float(row[0]).is_integer():
        return int(row[0])
    return int(row.argmax()) if row.dtype.kind in "biuf" and is_one_hot(row[None, :]) else label


def hint_below(label: Any) -> str:
    """What to do about a class number below 0; -1 and -100 are marks of what a loss leaves out."""
    if label not in (-1, -100):
        return "count class numbers from 0"
    return (
        f"where {label} marks what the loss ignores, take these rows out of the data: labels != "
        f"{label}; else count class numbers from 0"
    )


def _checked(labels: NDArray[Any]) -> NDArray[Any]:
    below = np.flatnonzero(labels < 0)
    if labels.ndim == 1 and len(below):
        raise DataError(
            f"row {below[0]} has label {labels[below[0]]}, below 0", hint_below(labels[below[0]])
        )
    if labels.ndim == 2 and not ((labels == 0) | (labels == 1)).all():
        sums = labels.sum(axis=1)
        if np.abs(sums - 1).max() < 1e-3:
            raise DataError(
                "the labels of an image are probabilities that sum to 1, and its class is unknown",
                "return the class number; use loss.smoothing, augment.mixup or augment.cutmix for "
                "soft labels",
            )
    return labels


def has_no_randomness(dataset: Any) -> bool:
    """Whether reading the dataset draws no random numbers for certain: stored tensors, lists."""
    if isinstance(dataset, Subset):
        return has_no_randomness(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        return all(has_no_randomness(part) for part in dataset.datasets)
    return type(dataset) in (TensorDataset, list, tuple)
