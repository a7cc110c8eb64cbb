"""Data handed over from Python, or from a file of the user's: datasets, loaders, arrays, splits."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from torchloupe.data.sources.archives import open_mapping, read_role
from torchloupe.data.sources.arrays import Part, open_arrays
from torchloupe.data.sources.datasets import DatasetReader, open_datasets
from torchloupe.data.sources.frame_index import read_rows
from torchloupe.data.sources.frames import is_frame, open_frame, read_frame
from torchloupe.data.sources.lists import (
    is_image_list,
    is_labelled_list,
    is_list_of_pairs,
    join_batches,
    open_lists,
    read_rows_of_paths,
)
from torchloupe.data.sources.loaders import is_stream, note_other, note_taken, take_apart
from torchloupe.data.sources.pairs import take_pair
from torchloupe.data.sources.plain_values import as_plain
from torchloupe.data.sources.restarts import as_restarting
from torchloupe.data.sources.source import SPLIT_WORDS, Data, name_some
from torchloupe.data.sources.streams import open_streams
from torchloupe.data.split import SPLIT_NAMES, TEST, TRAIN, VAL
from torchloupe.errors import LoupeError, UsageError, printable
from torchloupe.system.user_code import explain, load_object
from torchloupe.units import plural

_WANTED = (
    "give a Dataset, a DataLoader, a pair (images, labels) of arrays, or (train, val) of these"
)


def open_object(
    source: Any, *, name: str = "", layout: str = "auto", class_names: Sequence[str] = ()
) -> Data:
    """Data from a Python object; see open_data for what it may be."""
    if isinstance(source, Data):
        return source
    name = name or type(source).__name__
    source = as_plain(source)
    if isinstance(source, Mapping):
        return _open_dict(source, name, layout, class_names)
    if isinstance(source, (tuple, list)) and len(source) in (4, 6) and _is_array_like(source[0]):
        return _open_flat(source, name, layout, class_names)
    parts = {TRAIN: source}
    if isinstance(source, (tuple, list)) and _is_splits(source):
        parts = dict(zip((TRAIN, VAL, TEST), source, strict=False))
    return _open_parts(parts, name, layout, class_names)


def _open_dict(
    source: Mapping[Any, Any], name: str, layout: str, class_names: Sequence[str]
) -> Data:
    keys = [str(key) for key in source]
    if keys and all(key.lower() in SPLIT_WORDS for key in keys):
        parts = {SPLIT_WORDS[str(key).lower()]: value for key, value in source.items()}
        if len(parts) < len(keys):
            raise UsageError(f"two keys name one split: {name_some(keys)}", "keep one of them")
        return _open_parts(dict(sorted(parts.items())), name, layout, class_names)
    if any(read_role(key)[0] == "images" for key in keys):
        return open_mapping(
            source, name=name, place="the dict", layout=layout, class_names=class_names
        )
    raise UsageError(
        f"a dict with the keys {name_some(keys) or 'none'} is not data",
        "name its entries train, val and test, or images and labels",
    )


def open_code(spec: str) -> Any:
    """What `file.py:name` is; a function or class is called without arguments first."""
    found = load_object(spec, "dataset")
    if isinstance(found, type) or (callable(found) and not hasattr(found, "__getitem__")):
        try:
            found = found()
        except LoupeError:
            raise
        except Exception as error:
            raise explain(error, spec, "dataset") from error
    return found


def _open_parts(parts: dict[int, Any], name: str, layout: str, class_names: Sequence[str]) -> Data:
    """Data from a value for each split; None is no split, and lists of batches are cut up."""
    if len(parts) > 1:
        parts = {part: value for part, value in parts.items() if value is not None}
    parts = {
        part: as_restarting(value, SPLIT_NAMES[part] if len(parts) > 1 else "")
        for part, value in parts.items()
    }
    parts, notes = _join_batches(parts)
    data = _open_plain_parts(parts, name, layout, class_names)
    return replace(data, notes=(*notes, *data.notes)) if notes else data


def _open_plain_parts(
    parts: dict[int, Any], name: str, layout: str, class_names: Sequence[str]
) -> Data:
    """One kind for all splits: arrays if all are, lists, datasets if all are, else streams."""
    if TRAIN not in parts:
        raise UsageError("there is no train split", "give at least train, for example (train, val)")
    if all(_is_pair(value) for value in parts.values()):
        found = [Part(part, *value) for part, value in parts.items()]
        plain = "arrays" if name in ("tuple", "list", "dict") else name
        return open_arrays(found, name=plain, layout=layout, class_names=class_names)
    only = parts[TRAIN] if len(parts) == 1 else None
    if is_frame(frame := read_rows(only) or only):
        return open_frame(frame, name=name, class_names=class_names)
    pairs = {part: find_lists(value) for part, value in parts.items()}
    if all(pair is not None for pair in pairs.values()):
        found = [Part(part, *pair) for part, pair in pairs.items() if pair is not None]
        plain = "images" if name in ("tuple", "list", "dict") else name
        return open_lists(found, name=plain, layout=layout, class_names=class_names)
    if layout != "auto":
        raise UsageError(f"layout {layout} is for arrays, not for datasets", "leave layout out")
    for part, value in parts.items():
        _refuse_undatalike(value, SPLIT_NAMES[part] if len(parts) > 1 else "")
    if name in ("tuple", "list", "dict", "DataLoader"):
        name = type(getattr(parts[TRAIN], "dataset", parts[TRAIN])).__name__
    whole: dict[int, Any] = {}
    reader: DatasetReader | None = None
    notes: tuple[str, ...] = ()
    for part, value in parts.items():
        whole[part] = value
        if isinstance(value, DataLoader):
            inside = take_apart(value, part)
            if inside is None:
                return open_streams(parts, name=name, class_names=class_names)
            whole[part] = inside.dataset
            if part == TRAIN:
                reader = inside
                notes += (note_taken(value, inside),) if len(parts) == 1 else ()
            else:
                notes += note_other(value, part)
        elif is_stream(value):
            return open_streams(parts, name=name, class_names=class_names)
    data = open_datasets(whole, name=name, class_names=class_names, reader=reader)
    return replace(data, notes=notes + data.notes)


def _join_batches(parts: dict[int, Any]) -> tuple[dict[int, Any], tuple[str, ...]]:
    """`parts` with the images and labels of lists of batches, each batch cut up; and a note."""
    joined = {part: join_batches(value) for part, value in parts.items()}
    found = [pair for pair in joined.values() if pair is not None]
    if not found:
        return parts, ()
    count = sum(len(parts[part]) for part, pair in joined.items() if pair is not None)
    images = sum(len(pair[0]) for pair in found)
    note = f"a list of {plural(count, 'batch', 'batches')}: {plural(images, 'image')} in all"
    plain = {part: parts[part] if pair is None else pair for part, pair in joined.items()}
    if any(pair is None and find_lists(parts[part]) is None for part, pair in joined.items()):
        for part, pair in joined.items():  # beside a dataset or loader they are samples, too
            if pair is not None:
                plain[part] = _list_samples(*pair, as_tensors=_holds_tensors(parts[part]))
    return plain, (note,)


def _list_samples(images: Any, labels: Any, *, as_tensors: bool) -> list[tuple[Any, Any]]:
    """Pairs of image and label; images that were tensors are such again."""
    if as_tensors:
        images = [torch.from_numpy(image) for image in images]
    return list(zip(images, labels, strict=True))


def _holds_tensors(batches: Sequence[Any]) -> bool:
    pair = take_pair(batches[0])
    return pair is not None and isinstance(pair[0], torch.Tensor)


def _open_flat(source: Sequence[Any], name: str, layout: str, class_names: Sequence[str]) -> Data:
    """Data from four or six arrays: x, y, x, y or x, x, y, y, and so on with six."""
    half = len(source) // 2
    orders = [
        [(source[2 * k], source[2 * k + 1]) for k in range(half)],
        [(source[k], source[half + k]) for k in range(half)],
    ]
    fitting = [order for order in orders if all(map(_is_images_and_labels, order))]
    if len(fitting) != 1:
        shapes = ", ".join(str(list(np.shape(value))) for value in source)
        raise UsageError(
            f"{len(source)} arrays of shapes {shapes} are not images and labels of {half} splits",
            "give pairs: ((x_train, y_train), (x_test, y_test))",
        )
    parts = dict(zip((TRAIN, VAL, TEST), fitting[0], strict=False))
    data = _open_parts(parts, name, layout, class_names)
    use = "validation and the third for test" if half == 3 else "validation"
    note = (
        f"{len(source)} arrays are images and labels of {half} splits: the first for training, "
        f"the second for {use}; a dict with train, val and test says otherwise"
    )
    return replace(data, notes=(note, *data.notes))


def _is_array_like(value: Any) -> bool:
    return _is_array(value) or is_image_list(value)


def _is_images_and_labels(pair: tuple[Any, Any]) -> bool:
    images, labels = pair
    if not _is_array_like(images) or (_is_array(images) and images.ndim < 3):
        return False
    is_labels = isinstance(labels, (list, tuple)) or (_is_array(labels) and labels.ndim <= 2)
    return is_labels and len(labels) == len(images)


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, torch.Tensor))


def _is_pair(value: Any) -> bool:
    """Whether this is (images, labels): an array of images, and labels in an array or a list."""
    if not isinstance(value, (tuple, list)) or len(value) != 2 or not _is_array(value[0]):
        return False
    labels = value[1]
    if isinstance(labels, (list, tuple)):
        return not any(_is_array(label) and np.ndim(label) > 1 for label in labels[:1])
    return _is_array(labels) and labels.ndim <= 2 and value[0].ndim >= 2


def find_lists(value: Any) -> tuple[list[Any], Any] | None:
    """Images as a list and their labels, of a pair, a list of pairs or a frame; None if neither."""
    if is_frame(value):
        return read_frame(value)
    if is_list_of_pairs(value):
        return [pair[0] for pair in value], [pair[1] for pair in value]
    if _is_pair(value) or is_labelled_list(value):
        return list(value[0]), value[1]
    return read_rows_of_paths(value)


def _is_splits(source: Sequence[Any]) -> bool:
    """Whether this is (train, val) or (train, val, test), and not one list of samples."""
    is_one = _is_pair(source) or is_labelled_list(source) or is_list_of_pairs(source)
    if not 1 <= len(source) <= 3 or is_one:
        return False
    return isinstance(source, tuple) or all(map(_is_split, source))


def _is_split(part: Any) -> bool:
    """Whether an entry of a list is a whole split, and not one sample."""
    if _is_pair(part) or is_labelled_list(part) or is_list_of_pairs(part) or is_stream(part):
        return True
    return hasattr(part, "__len__") and not isinstance(part, (tuple, list)) and not _is_array(part)


def _refuse_undatalike(value: Any, where: str) -> None:
    """UsageError for what can't be a data set, before anything is read from it."""
    what = f"{where}: " if where else ""
    if _is_array(value):
        raise UsageError(
            f"{what}an array of shape {list(value.shape)} comes without labels",
            "give a pair: (images, labels)",
        )
    if is_stream(value):
        return
    is_sequence = hasattr(value, "__getitem__") and not isinstance(
        value, (str, bytes, Mapping, type)
    )
    if not is_sequence:
        shown = printable(value, 60) if isinstance(value, (str, bytes, int, float)) else ""
        raise UsageError(
            f"{what}{printable(type(value).__name__)} {shown}".rstrip() + " is not data", _WANTED
        )
    try:
        len(value)
    except (TypeError, NotImplementedError):
        raise UsageError(
            f"{what}{printable(type(value).__name__)} has __getitem__ and no __len__",
            "give it a __len__, or make it an IterableDataset",
        ) from None
