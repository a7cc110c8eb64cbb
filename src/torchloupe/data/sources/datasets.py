"""A user's own map-style datasets: anything with `__len__` and `__getitem__` giving (image, label).

The dataset stays as it is, transforms and all. Labels are looked up where they can be had
without reading the images (`.targets`, `.labels`, `.tensors`), and checked on a few rows.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import ConcatDataset, Subset

from torchloupe.data.samples import Samples, make_ids
from torchloupe.data.sources.labels import compare_splits
from torchloupe.data.sources.source import Data, name_some, short_name
from torchloupe.data.split import SPLIT_NAMES, TRAIN
from torchloupe.errors import DataError, LoupeError, UsageError, printable
from torchloupe.units import plural


class DatasetReader:
    """Images of a dataset; row k of all splits together is `dataset[k]`.

    `batch_total` and `workers` are what a DataLoader of the user's asked for; 0 is not said.
    """

    def __init__(self, dataset: Any, batch_total: int = 0, workers: int = 0) -> None:
        self.dataset = dataset
        self.batch_total = batch_total
        self.workers = workers

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
    notes: list[str] = []
    labels = {}
    for part, dataset in parts.items():
        where = SPLIT_NAMES[part] if len(parts) > 1 else "dataset"
        if not len(dataset):
            raise DataError(f"{where} has no samples", "give a dataset that holds images")
        labels[part], note = _find_labels(dataset, where)
        notes += note
    names, aligned = _align(parts, labels, class_names)
    every = np.concatenate([labels[part] for part in parts])
    if not class_names and every.ndim == 1 and not names:
        names = tuple(str(number) for number in range(int(every.max()) + 1))
    elif not names:
        names = tuple(str(number) for number in range(every.shape[-1]))
    width = int(every.max()) + 1 if every.ndim == 1 else int(every.shape[-1])
    if width > len(names) or (every.ndim == 2 and width < len(names)):
        raise DataError(
            f"labels go up to {width - 1}, and there are {len(names)} class names: "
            f"{name_some(names)}",
            "name every class, counted from 0",
        )
    counts = [len(labels[part]) for part in parts]
    given = np.repeat(list(parts), counts).astype(np.int8)
    is_given = bool((given != TRAIN).any())
    if is_given:
        notes += compare_splits(every, given, names)
    ids: Any = range(len(every))
    if len(parts) > 1:
        ids = [
            f"{SPLIT_NAMES[p]}/{k}" for p, n in zip(parts, counts, strict=True) for k in range(n)
        ]
    whole = aligned[0] if len(aligned) == 1 else ConcatDataset(aligned)
    reader = (
        DatasetReader(whole, reader.batch_total, reader.workers) if reader else DatasetReader(whole)
    )
    return Data(
        name=short_name(name),
        kind="dataset",
        samples=Samples(make_ids(ids), every, names),
        given=given if is_given else None,
        reader=reader,
        notes=tuple(notes),
        stamp=stamp or uuid.uuid4().hex,
    )


def known_labels(dataset: Any) -> NDArray[Any] | None:
    """The labels a dataset tells without reading its images: [N] int64, [N, K] float32, or None."""
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
    if isinstance(dataset, (list, tuple)):
        values = [pair[1] for pair in dataset if isinstance(pair, (list, tuple)) and len(pair) == 2]
    elif getattr(dataset, "target_transform", None) is None:
        tensors: Any = getattr(dataset, "tensors", ())
        values = tensors[1] if len(tensors) == 2 else None
        for attribute in ("targets", "labels"):
            values = getattr(dataset, attribute, None) if values is None else values
    try:
        labels = _as_labels(values)
    except (ValueError, TypeError):
        return None
    return labels if len(labels) == len(dataset) else None


def names_of(dataset: Any) -> tuple[str, ...]:
    """The class names a dataset bears in `.classes`, or the datasets inside it do; () if none."""
    if isinstance(dataset, Subset):
        return names_of(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        found = [names_of(part) for part in dataset.datasets]
        return found[0] if all(names == found[0] for names in found) else ()
    classes = getattr(dataset, "classes", ())
    if not isinstance(classes, (list, tuple)) or len(set(map(str, classes))) < len(classes):
        return ()
    return tuple(str(name) for name in classes)


def read_item(dataset: Any, row: int) -> tuple[Any, Any]:
    """(image, label) of a row; DataError for anything else, with the row and what came."""
    try:
        item = dataset[row]
    except LoupeError:
        raise
    except Exception as error:
        raise DataError(
            f"row {row} can't be read: {type(error).__name__}: {printable(error)}",
            f"dataset[{row}] fails by itself too: fix it there",
        ) from error
    if isinstance(item, (tuple, list)) and len(item) == 2:
        return item[0], item[1]
    if isinstance(item, (tuple, list)):
        came = f"a {type(item).__name__} of {len(item)}"
    elif isinstance(item, dict):
        came = f"a dict with {name_some(item)}"
    else:
        came = f"a {printable(type(item).__name__)}"
    raise DataError(
        f"row {row} is {came}; wanted a pair (image, label)",
        "let __getitem__ return image, label",
    )


def to_pixels(image: Any) -> NDArray[Any]:
    """Pixels [H, W, C] uint8 or float32 from a PIL image, a tensor [C, H, W] or an array."""
    if isinstance(image, Image.Image):
        plain = {"1": "L", "P": "RGBA" if "transparency" in image.info else "RGB", "LA": "RGBA"}
        if image.mode not in ("L", "RGB", "RGBA"):
            image = image.convert(plain.get(image.mode, "RGB"))
        return np.atleast_3d(np.asarray(image))
    is_tensor = hasattr(image, "detach")
    pixels = np.asarray(image.detach().cpu() if is_tensor else image)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    elif pixels.ndim == 3:
        first, last = pixels.shape[0] in (1, 3, 4), pixels.shape[2] in (1, 3, 4)
        if (is_tensor and (first or not last)) or (first and not last):
            pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim != 3 or 0 in pixels.shape or pixels.dtype.kind not in "biuf":
        raise DataError(
            f"an image of shape {list(pixels.shape)} and type {pixels.dtype} is no picture",
            "let the dataset give PIL images, tensors [C, H, W] or arrays [H, W, C]",
        )
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind in "iu" and pixels.min() >= 0 and pixels.max() <= 255:
        return pixels.astype(np.uint8, copy=False)
    return pixels.astype(np.float32, copy=False)


class Relabelled:
    """A dataset whose class numbers are changed to those of another split."""

    def __init__(self, dataset: Any, numbers: Sequence[int]) -> None:
        self.dataset = dataset
        self.numbers = tuple(numbers)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        image, label = read_item(self.dataset, row)
        return image, self.numbers[int(label)]


def _find_labels(dataset: Any, where: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Labels of all rows, as the dataset tells them or else read one by one; then with a note."""
    count = len(dataset)
    labels = known_labels(dataset)
    try:
        if labels is not None and not isinstance(dataset, (list, tuple)):
            rows = sorted({0, count // 2, count - 1})
            shown = _as_labels([read_item(dataset, row)[1] for row in rows])
            if shown.shape != labels[rows].shape or not (shown == labels[rows]).all():
                labels = None  # they are changed on the way, or are something else
        if labels is not None:
            return _checked(labels), ()
        labels = _checked(_as_labels([read_item(dataset, row)[1] for row in range(count)]))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{where}: labels can't be used: {printable(error)}",
            "let __getitem__ return image, label with label a class number from 0",
        ) from None
    except DataError as error:
        raise DataError(f"{where}: {error.message}", error.hint) from error
    note = f"{where}: all {plural(count, 'sample')} were read once to learn their labels; "
    return labels, (note + "a `targets` attribute saves that",)


def _as_labels(values: Any) -> NDArray[Any]:
    """[N] int64 or [N, K] float32; ValueError or TypeError where values are no labels."""
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


def _checked(labels: NDArray[Any]) -> NDArray[Any]:
    below = np.flatnonzero(labels < 0)
    if len(below) and labels.ndim == 1:
        raise DataError(
            f"row {below[0]} has label {labels[below[0]]}, below 0", "count class numbers from 0"
        )
    return labels


def _align(
    parts: Mapping[int, Any], labels: dict[int, NDArray[Any]], class_names: Sequence[str]
) -> tuple[tuple[str, ...], list[Any]]:
    """Class names, and the datasets with the labels of each brought to those names.

    Changes `labels` in place where a split numbers its classes in another way than train.
    """
    named = {part: names_of(dataset) for part, dataset in parts.items()}
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
