"""A user's own map-style datasets: anything with `__len__` and `__getitem__` giving (image, label).

The dataset stays as it is, transforms and all. Class names are aligned between splits and
between the parts of a ConcatDataset.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, Subset

from torchloupe.data.samples import Samples, make_ids
from torchloupe.data.sources.dataset_labels import (
    class_number,
    find_labels,
    has_no_randomness,
    is_one_hot,
    keeps_names,
    known_labels,
    names_of,
)
from torchloupe.data.sources.hub_columns import (
    names_by_number,
    read_hub_columns,
    without_unlabelled,
)
from torchloupe.data.sources.kept_draws import note_kept_draws
from torchloupe.data.sources.labels import compare_splits, sort_names
from torchloupe.data.sources.listed_labels import number_lists
from torchloupe.data.sources.missing_labels import note_missing_labels
from torchloupe.data.sources.pairs import read_item, to_pixels
from torchloupe.data.sources.repeatable import note_unrepeatable_rows
from torchloupe.data.sources.same_rows import find_same_rows
from torchloupe.data.sources.source import Data, name_some, short_name
from torchloupe.data.sources.text_labels import number_texts
from torchloupe.data.split import SPLIT_NAMES, TRAIN
from torchloupe.errors import DataError, UsageError

_MOST_GAPS = 10_000  # class numbers, of which most may have no image


class DatasetReader:
    """Images of a dataset; row k of all splits together is `dataset[k]`.

    The rest is what a DataLoader of the user's asked for; 0 is not said.
    """

    def __init__(
        self,
        dataset: Any,
        batch_total: int = 0,
        workers: int = 0,
        drops_last: bool = False,
        start_worker: Callable[[int], object] | None = None,
    ) -> None:
        self.dataset = dataset
        self.batch_total = batch_total
        self.workers = workers
        self.drops_last = drops_last
        self.start_worker = start_worker

    def read(self, row: int) -> NDArray[Any]:
        """The pixels [H, W, C] that the dataset gives for `row`, its transforms applied."""
        return to_pixels(read_item(self.dataset, row)[0])


def open_datasets(
    parts: Mapping[int, Any],
    *,
    name: str,
    class_names: Sequence[str] = (),
    reader: DatasetReader | None = None,
    stamp: str = "",
) -> Data:
    """Data from one dataset, or from one for each of TRAIN, VAL and TEST.

    Class names come from `.classes`, else they are the numbers; between splits they are
    aligned by name. `stamp` is for sets that never change: any other gets one of its own.
    """
    parts, left_out = without_unlabelled(parts)
    beside = read_hub_columns(parts, class_names)
    groups, repeats = find_same_rows({part: whole for part, whole in parts.items() if len(whole)})
    try:
        parts, labels, notes = _find_all(parts, not stamp)
    except DataError:
        parts, text_notes = number_texts(parts, class_names)
        if not text_notes:
            if (listed := number_lists(parts, class_names)) is None:
                raise
            parts, text_notes = listed
        parts, labels, notes = _find_all(parts, not stamp)
        notes = [*text_notes, *notes]
    named = _find_names(parts, labels)
    notes += _note_unused(parts, named, class_names)
    width = _count_columns(labels)
    names, aligned = _align(parts, labels, class_names, named)
    every = np.concatenate(list(labels.values()))
    width = width or _count_classes(every)
    names = names or names_by_number(every, beside)
    notes += (*left_out, *repeats)
    if every.ndim == 1 and not any(named.values()):
        every, names, aligned, note = _number_from_one(every, width, names, aligned)
        notes += note
    names = names or tuple(str(number) for number in range(width))
    _require_names(every, names)
    counts = [len(labels[part]) for part in parts]
    given = np.repeat(list(parts), counts).astype(np.int8)
    is_given = bool((given != TRAIN).any())
    notes += compare_splits(every, given if is_given else None, names)
    ids: Any = range(len(every))
    if len(parts) > 1:
        ids = [
            f"{SPLIT_NAMES[p]}/{k}" for p, n in zip(parts, counts, strict=True) for k in range(n)
        ]
    reader = reader or DatasetReader(None)
    reader.dataset = aligned[0] if len(aligned) == 1 else ConcatDataset(aligned)
    data = Data(
        name=short_name(name),
        kind="dataset",
        samples=Samples(make_ids(ids), every, names, groups),
        given=given if is_given else None,
        reader=reader,
        notes=tuple(notes),
        stamp=stamp or uuid.uuid4().hex,
    )
    return beside.complete(data)


def _find_all(
    parts: Mapping[int, Any], is_compared: bool
) -> tuple[dict[int, Any], dict[int, NDArray[Any]], list[str]]:
    """The datasets with the classes of their parts united, their labels, and notes.

    Rows are read twice and compared where `is_compared`.
    """
    united = {part: unite_classes(dataset) for part, dataset in parts.items()}
    labels, notes = {}, list[str]()
    for part, dataset in united.items():
        where = SPLIT_NAMES[part] if len(united) > 1 else "dataset"
        if not len(dataset):
            raise DataError(f"{where} has no samples", "give a dataset that holds images")
        labels[part], note = find_labels(dataset, where)
        notes += note
        if part == TRAIN and is_compared and not has_no_randomness(dataset):
            notes += note_unrepeatable_rows(dataset, where)
            notes += note_kept_draws(dataset, where)
    return united, labels, notes


def _find_names(
    parts: Mapping[int, Any], labels: Mapping[int, NDArray[Any]]
) -> dict[int, tuple[str, ...]]:
    """The class names of each dataset whose items have the labels that the names are of.

    Where those of the first, which others are aligned with, are not used, none are.
    """
    named = {
        part: names_of(dataset) if keeps_names(dataset, labels[part]) else ()
        for part, dataset in parts.items()
    }
    first = next(iter(parts))
    if not named[first] and names_of(parts[first], as_given=True):
        return dict.fromkeys(parts, ())
    return named


def _note_unused(
    parts: Mapping[int, Any], named: Mapping[int, tuple[str, ...]], class_names: Sequence[str]
) -> list[str]:
    """A note where the class names of a dataset are not those of the labels that its items have."""
    first = next(iter(parts))
    given = names_of(parts[first], as_given=True)
    if class_names or named[first] or not given:
        return []
    return [
        f"the labels of the items are not the dataset's own numbers, so its class names "
        f"({name_some(given)}) are not used: classes are numbers; data.class_names=... names them"
    ]


def _count_classes(labels: NDArray[np.int64]) -> int:
    """One class more than the largest number; DataError if these are ids, and no class numbers."""
    highest, different = int(labels.max()), len(np.unique(labels))
    if highest >= max(_MOST_GAPS, 10 * different):
        raise DataError(
            f"labels go up to {highest:,}, and there are {different:,} different ones: these are "
            "ids, not class numbers",
            "let the dataset give the place of the id in a sorted list of all: ids.index(id)",
        )
    return highest + 1


def _require_names(labels: NDArray[Any], names: Sequence[str]) -> None:
    """DataError if there are other labels than class names."""
    used = int(labels.max()) + 1 if labels.ndim == 1 else labels.shape[1]
    if used > len(names) or (labels.ndim == 2 and used < len(names)):
        raise DataError(
            f"labels go up to {used - 1}, and there are {len(names)} class names: "
            f"{name_some(names)}",
            "count labels from 0 and not from 1: let the dataset give label - 1"
            if labels.ndim == 1 and used == len(names) + 1 and labels.min() == 1
            else "name every class, counted from 0",
        )


class Relabelled:
    """A dataset whose class numbers are changed to those of other class names."""

    def __init__(self, dataset: Any, numbers: Sequence[int], classes: Sequence[str] = ()) -> None:
        self.dataset = dataset
        self.numbers = tuple(numbers)
        self.classes = tuple(classes)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        image, label = read_item(self.dataset, row)
        return image, self.numbers[int(class_number(label))]

    @property
    def targets(self) -> NDArray[Any] | None:
        """The changed labels [N], where the dataset gives its own without reading images."""
        labels = known_labels(self.dataset)
        if labels is None or not len(labels):
            return None
        labels = labels.argmax(axis=1) if is_one_hot(labels) else labels
        if labels.ndim > 1 or labels.min() < 0 or labels.max() >= len(self.numbers):
            return None
        changed: NDArray[Any] = np.array(self.numbers, dtype=np.int64)[labels]
        return changed


def unite_classes(dataset: Any) -> Any:
    """`dataset`, where the parts of a ConcatDataset name other classes: with one list for all.

    DataError if only some of the parts name their classes: numbers alone can't be aligned.
    """
    if isinstance(dataset, Subset):
        inner = unite_classes(dataset.dataset)
        return dataset if inner is dataset.dataset else Subset(inner, dataset.indices)
    if not isinstance(dataset, ConcatDataset):
        return dataset
    inside = [unite_classes(part) for part in dataset.datasets]
    lists = [names_of(part) for part in inside]
    if len(set(lists)) == 1:
        is_same = all(new is old for new, old in zip(inside, dataset.datasets, strict=True))
        return dataset if is_same else ConcatDataset(inside)
    if not all(lists):
        named = next(names for names in lists if names)
        raise DataError(
            f"a ConcatDataset joins a dataset that names its classes ({name_some(named)}) and one "
            "that doesn't: whether their numbers mean the same classes is unknown",
            "give each of them a `classes` attribute, and no target_transform that changes numbers",
        )
    every = {name for names in lists for name in names}
    names = next((own for own in lists if set(own) == every), tuple(sort_names(sorted(every))))
    united: list[Any] = [
        Relabelled(part, [names.index(name) for name in own], names)
        for part, own in zip(inside, lists, strict=True)
    ]
    return ConcatDataset(united)


def _count_columns(labels: dict[int, NDArray[Any]]) -> int:
    """How many columns labels [N, K] have, 0 for class numbers; one-hot ones become numbers."""
    shapes = {part: found.shape[1:] for part, found in labels.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{SPLIT_NAMES[p]} {list(shape)}" for p, shape in shapes.items())
        raise DataError(
            f"labels of the splits have different shapes per image: {listed}",
            "give all splits labels of one kind",
        )
    width = next(iter(shapes.values()), ())
    if all(is_one_hot(found) for found in labels.values()):
        for part, found in labels.items():
            labels[part] = found.argmax(axis=1).astype(np.int64)
    return width[0] if width else 0


def _number_from_one(
    labels: NDArray[np.int64], width: int, class_names: Sequence[str], datasets: list[Any]
) -> tuple[NDArray[Any], tuple[str, ...], list[Any], tuple[str, ...]]:
    """Labels and datasets of numbers alone, brought to class names that are such numbers.

    Without class names, a note if the numbers leave out 0.
    """
    found = np.unique(labels)
    places = {name: number for number, name in enumerate(class_names)}
    if class_names and all(str(number) in places for number in found):
        numbers = [places.get(str(number), -1) for number in range(width)]
        if numbers == list(range(width)):
            return labels, tuple(class_names), datasets, ()
        datasets = [Relabelled(dataset, numbers, class_names) for dataset in datasets]
        return np.array(numbers, dtype=np.int64)[labels], tuple(class_names), datasets, ()
    notes: tuple[str, ...] = ()
    if not class_names and len(found) > 1 and found[0] == 1:
        offer = ",".join(map(str, range(1, width))) if width <= 11 else f"1,2,...,{width - 1}"
        notes = (
            f"labels run from 1 to {width - 1}: class '0' has no image; "
            f"data.class_names={offer} leaves it out",
        )
    if not class_names:
        counts = np.bincount(labels, minlength=width)[found]
        notes += note_missing_labels([str(number) for number in found], counts, "labels")
    return labels, tuple(class_names), datasets, notes


def _align(
    parts: Mapping[int, Any],
    labels: dict[int, NDArray[Any]],
    class_names: Sequence[str],
    named: Mapping[int, tuple[str, ...]],
) -> tuple[tuple[str, ...], list[Any]]:
    """Class names, and the datasets with the labels of each brought to those names.

    `named` are the names that each has of its own. Changes `labels` in place where a split
    numbers its classes in another way than train.
    """
    names = named.get(TRAIN) or next(iter(named.values()))
    aligned = []
    for part, dataset in parts.items():
        own = named[part]
        if not own or own == names or labels[part].ndim == 2:
            aligned.append(dataset)
            continue
        used = [own[number] for number in np.unique(labels[part]) if number < len(own)]
        unknown = [name for name in used if name not in names]
        if unknown:
            raise DataError(
                f"{SPLIT_NAMES[part]} has classes that train lacks: {name_some(unknown)}",
                "give all splits the same classes",
            )
        numbers = [names.index(name) if name in names else -1 for name in own]
        labels[part] = np.array(numbers, dtype=np.int64)[labels[part]]
        aligned.append(Relabelled(dataset, numbers))
    if class_names and names and set(class_names) == set(names) and tuple(class_names) != names:
        raise UsageError(
            f"class_names order the classes otherwise than the dataset does: {name_some(names)}",
            "leave class_names out, or name the classes in the dataset's order",
        )
    return tuple(class_names) or names, aligned
