"""Arrays by name that are neither images nor labels: splits, groups, names, and what is not used.

`split` or `patient_id` [N] beside `images` and `labels` are what columns of these names are in a
table. Arrays without names (`arr_0`, `arr_1`, ...) are told by their shapes.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.sources.arrays import Part, as_array
from torchloupe.data.sources.column_names import names_groups
from torchloupe.data.sources.column_roles import plain_name
from torchloupe.data.sources.side_columns import Beside, Texts, as_cells, read_beside
from torchloupe.data.sources.source import name_some
from torchloupe.data.sources.split_names import read_split
from torchloupe.data.split import SPLIT_NAMES, TEST, TRAIN, VAL
from torchloupe.errors import DataError, LoupeError, printable

_NUMBERED = re.compile(r"arr_(\d+)")
_INDICES = re.compile(r"(\w+?)[-_. ]?(?:idx|idxs|index|indexes|indices|ids|rows|mask)")
_MOST_NAMED = 6  # arrays that a note names


def name_numbered(arrays: Mapping[str, Any], place: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Names such as x_train for arrays that numpy.savez numbered, four or six of them, and a note.

    They are x, y, x, y or x, x, y, y, as shapes allow; {} for other arrays. DataError where both
    or none fit.
    """
    keys = sorted(map(str, arrays), key=lambda key: (len(key), key))
    if len(keys) < 2 or not all(map(_NUMBERED.fullmatch, keys)):
        return {}, ()
    half = len(keys) // 2
    shapes = [np.shape(arrays[key]) for key in keys]
    if len(keys) == 2:
        is_turned = _are_pairs(shapes, [(1, 0)])
        return ({keys[1]: "images", keys[0]: "labels"} if is_turned else {}), ()
    orders = [
        [(2 * k, 2 * k + 1) for k in range(half)],
        [(k, half + k) for k in range(half)],
    ]
    fitting = (
        [order for order in orders if _are_pairs(shapes, order)] if len(keys) in (4, 6) else []
    )
    if len(fitting) != 1:
        images = [key for key, shape in zip(keys, shapes, strict=True) if len(shape) >= 3]
        if len(images) < 2:
            return {}, ()
        listed = ", ".join(f"{k} {list(shape)}" for k, shape in zip(keys, shapes, strict=True))
        raise DataError(
            f"{place} holds arrays without names, and which images go with which labels is "
            f"unknown: {listed}",
            "name them: numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)",
        )
    parts = (TRAIN, TEST) if half == 2 else (TRAIN, VAL, TEST)
    names = [SPLIT_NAMES[part] for part in parts]
    found: dict[str, str] = {}
    for split, pair in zip(names, fitting[0], strict=True):
        found |= {keys[pair[0]]: f"x_{split}", keys[pair[1]]: f"y_{split}"}
    listed = ", ".join(f"{keys[x]} and {keys[y]} {split}" for split, (x, y) in
                       zip(names, fitting[0], strict=True))  # fmt: skip
    note = f"arrays without names are images and labels by their shapes: {listed}"
    return found, (note,)


def _are_pairs(shapes: Sequence[tuple[int, ...]], pairs: Sequence[tuple[int, int]]) -> bool:
    """Whether the arrays of these places are images of one shape, and labels for each of them."""
    images, labels = ([shapes[pair[k]] for pair in pairs] for k in (0, 1))
    same = len({shape[1:] for shape in images}) == 1 and len({s[1:] for s in labels}) == 1
    fit = all(len(y) in (1, 2) and y[0] == x[0] for x, y in zip(images, labels, strict=True))
    return same and fit and len(images[0]) >= 3


def read_array_columns(
    arrays: Mapping[str, Any],
    used: Collection[str],
    parts: Sequence[Part],
    label: str,
    class_names: Sequence[str],
) -> Beside:
    """What arrays of a value for each image say of its split, group and class; notes on the rest.

    `used` are the images, labels and names of classes, `label` the labels of the only one of
    `parts`; of several splits nothing is read. DataError for a split that names none.
    """
    counts = {len(part.images) for part in parts}
    free, notes = _free(arrays, used)
    if len(parts) > 1:
        return Beside(notes=(*notes, *_note_unused(free, list(free), counts)))
    (count,) = counts
    columns = {key: texts for key, a in free.items() if (texts := _as_column(a, count)) is not None}
    free, columns = _without_plurals(free, columns)
    split, by = ({}, []) if "split" in columns else _read_indices(free, count)
    own = _as_column(_as_array(parts[0].labels), count)
    whole = columns | split | ({} if own is None else {label: own})
    beside = read_beside(whole, label, "the arrays", what="array", class_names=class_names)
    rest = [key for key in free if key not in (*beside.used, *by)]
    return replace(beside, notes=(*beside.notes, *notes, *_note_unused(free, rest, counts)))


def _without_plurals(
    free: dict[str, NDArray[Any]], columns: dict[str, Texts]
) -> tuple[dict[str, NDArray[Any]], dict[str, Texts]]:
    """The arrays and columns, those of groups by names that tables have: `groups` as `group`."""
    plural = [key for key in columns if key[-1:] == "s" and names_groups(plain_name(key[:-1]))]
    single = {key: key[:-1] for key in plural if key[:-1] not in free}
    return (
        {single.get(key, key): array for key, array in free.items()},
        {single.get(key, key): texts for key, texts in columns.items()},
    )


def _note_unused(
    arrays: Mapping[str, Any], keys: Sequence[str], counts: Collection[int]
) -> tuple[str, ...]:
    """A note on those of `keys` that may be images or labels: of three axes, or as many as these.

    `counts` are the numbers of images. A name that begins with a split is enough, too.
    """
    told = [
        f"'{printable(key, 60)}' {list(arrays[key].shape)}"
        for key in keys
        if arrays[key].ndim >= 3 or _may_be_labels(key, arrays[key], counts)
    ]
    if not told:
        return ()
    more = f" and {len(told) - _MOST_NAMED:,} more" if len(told) > _MOST_NAMED else ""
    return (f"arrays that are not used: {', '.join(told[:_MOST_NAMED])}{more}",)


def _may_be_labels(key: str, array: NDArray[Any], counts: Collection[int]) -> bool:
    """Whether an array may be labels of images or rows of a split, and no ids or measures."""
    if not array.ndim or (array.dtype.kind == "f" and (array != np.floor(array)).any()):
        return False
    if _split_of(key) is not None:
        return True
    return len(array) in counts and (array.ndim > 1 or len(np.unique(array)) < len(array))


def _free(
    arrays: Mapping[str, Any], used: Collection[str]
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """The arrays that are not used yet, and a note on those that can't be read."""
    free, lost = {}, []
    for key in arrays:
        if key in used:
            continue
        try:
            array = _as_array(arrays[key])
        except LoupeError:
            lost.append(key)
            continue
        if array is not None:
            free[str(key)] = array
    if not lost:
        return free, ()
    return free, (f"{name_some(lost)} can't be read as plain arrays, and is not used",)


def _as_array(value: Any) -> NDArray[Any] | None:
    """An array, a tensor, or a list of texts and numbers as an array; None for anything else."""
    if hasattr(value, "detach"):
        return as_array(value)
    if isinstance(value, (list, tuple)):
        if not all(isinstance(item, (str, int, float)) for item in value):
            return None
        return np.array(value, dtype=np.dtypes.StringDType() if _has_texts(value) else None)
    return np.asanyarray(value) if hasattr(value, "dtype") else None


def _has_texts(values: Sequence[Any]) -> bool:
    return any(isinstance(value, str) for value in values)


def _as_column(array: NDArray[Any] | None, count: int) -> Texts | None:
    """The values of [N] or [N, 1] as texts; None for other shapes and for fractions."""
    if (
        array is None
        or array.shape not in ((count,), (count, 1))
        or array.dtype.kind not in "biufUSTO"
    ):
        return None
    values = array.reshape(-1)
    if values.dtype.kind == "f" and not (values == np.floor(values)).all():
        return None
    return as_cells(values.tolist())


def _read_indices(
    arrays: Mapping[str, NDArray[Any]], count: int
) -> tuple[dict[str, Texts], list[str]]:
    """A column of splits from arrays such as `test_idx` or `val_mask`, and their names.

    DataError where they leave a row out or give it twice.
    """
    parts: dict[str, NDArray[Any]] = {}
    given = np.full(count, -1, dtype=np.int8)
    times = np.zeros(count, dtype=np.int64)
    for key, array in arrays.items():
        match = _INDICES.fullmatch(key.lower())
        part = read_split(match[1]) if match else None
        rows = _rows_of(array, count)
        if part is not None and rows is not None:
            parts[key] = rows
            given[rows] = part
            times[rows] += 1
    if not parts or (given[given >= 0] == TRAIN).all():
        return {}, []
    if (given != -1).any() and not (given == TRAIN).any():
        given[given == -1] = TRAIN  # only those of val and test are listed
    if (times > 1).any() or (given == -1).any():
        row = int(np.flatnonzero((times > 1) | (given == -1))[0])
        what = "in more than one" if times[row] > 1 else "in none"
        raise DataError(
            f"the arrays {name_some(parts)} don't divide the {count:,} images: row {row} is {what}",
            "write train, val or test for each image into an array named split",
        )
    texts = [SPLIT_NAMES[part] for part in given.tolist()]
    return {"split": np.array(texts, dtype=np.dtypes.StringDType())}, list(parts)


def _rows_of(array: NDArray[Any], count: int) -> NDArray[np.int64] | None:
    """The rows that an array of row numbers, or of a flag for each row, names; None for others."""
    flat = array.reshape(-1) if array.shape[1:] in ((), (1,)) else array
    if flat.ndim != 1 or not len(flat) or flat.dtype.kind not in "biu":
        return None
    if flat.dtype.kind == "b":
        return np.flatnonzero(flat) if len(flat) == count else None
    rows = flat.astype(np.int64)
    is_sound = rows.min() >= 0 and rows.max() < count and len(np.unique(rows)) == len(rows)
    return rows if is_sound else None


def _split_of(key: str) -> int | None:
    """The split that a name begins with."""
    return read_split(re.split(r"[-_. ]", key.lower())[0])
