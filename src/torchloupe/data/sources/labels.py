"""Labels as numbers and names: found values become classes, the same way for every source.

A class is its name. Numbers are names too, sorted as numbers.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.sources.source import name_some
from torchloupe.data.sources.spelling import (
    compose,
    find_longer,
    find_twin,
    note_joined,
    note_twins,
)
from torchloupe.data.split import SPLIT_NAMES, TEST, TRAIN, VAL
from torchloupe.errors import DataError, UsageError

Labels = NDArray[Any]


def sort_names(names: Sequence[str]) -> list[str]:
    """Class names in order: as numbers when all are whole numbers, else as text."""
    if all(re.fullmatch(r"[+-]?[0-9]{1,18}", name) for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def order_classes(
    found: Sequence[str], class_names: Sequence[str] = ()
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Class names, and for each of `found` (distinct label values as text) its class number.

    Names that differ only in how accents are stored are one class. `class_names`, if given,
    are all classes in order: found names must be among them, and where found values are whole
    numbers instead, value i is the name at position i.
    """
    found = [compose(name) for name in found]
    if not class_names:
        names = sort_names(sorted(set(found), key=found.index))
        place = {name: number for number, name in enumerate(names)}
        return tuple(names), np.array([place[name] for name in found], dtype=np.int64)
    place = {compose(name): number for number, name in enumerate(class_names)}
    if len(place) < len(class_names):
        twice = sorted({name for name in class_names if list(class_names).count(name) > 1})
        raise UsageError(
            f"data.class_names holds a name twice: {name_some(twice)}", "name each class once"
        )
    unknown = [name for name in found if name not in place]
    if unknown and all(re.fullmatch(r"[0-9]{1,18}", name) for name in found):
        beyond = sort_names([name for name in found if int(name) >= len(place)])
        if beyond:
            raise UsageError(
                f"data.class_names has {len(place)} names (for labels 0 to {len(place) - 1}); "
                f"the data also has {name_some(beyond)}",
                "give one name for every label, counted from 0",
            )
        return tuple(class_names), np.array([int(name) for name in found], dtype=np.int64)
    if unknown:
        raise UsageError(
            f"data.class_names lacks {name_some(sort_names(unknown))}, found in the data",
            "name every class of the data, or leave class_names out",
        )
    return tuple(class_names), np.array([place[name] for name in found], dtype=np.int64)


def read_labels(
    values: NDArray[Any], class_names: Sequence[str] = ()
) -> tuple[Labels, tuple[str, ...], tuple[str, ...]]:
    """Labels, class names and notes from an array as people store labels.

    [N], [N, 1] or [N, 1, 1, 1] whole numbers or texts give [N] int64. [N, K] of 0 and 1 gives
    [N] where every row has exactly one 1 (one-hot), else [N, K] float32 (several labels an image).
    """
    values = np.asarray(values)
    if values.ndim > 1 and all(length == 1 for length in values.shape[1:]):
        values = values.reshape(-1)
    if values.dtype.kind == "O" and values.ndim == 1:  # as pandas keeps texts
        plain = [value.item() if isinstance(value, np.generic) else value for value in values]
        if all(type(value) is type(plain[0]) and isinstance(value, (str, int)) for value in plain):
            values = np.array(plain)
    if values.dtype.kind not in "biufUST":
        raise DataError(
            f"labels of type {values.dtype} can't be read", "store them as whole numbers or text"
        )
    if values.ndim == 2 and values.dtype.kind in "biuf":
        return _from_indicators(values, class_names)
    if values.ndim != 1:
        raise DataError(
            f"labels have shape {list(values.shape)}; wanted [N], or [N, classes] of 0 and 1",
            "store one label per image",
        )
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    if values.dtype.kind == "f":
        if not (np.isfinite(values) & (values == np.floor(values))).all():
            wrong = values[~(np.isfinite(values) & (values == np.floor(values)))][0]
            raise DataError(
                f"labels are not whole numbers: found {wrong}", "store labels as whole numbers"
            )
        values = values.astype(np.int64)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "backslashreplace")
    found, codes = np.unique(values, return_inverse=True)
    texts = [str(value) for value in found]
    names, lookup = order_classes(texts, class_names)
    notes = (*note_joined(texts), *note_twins(names), *_note_mark(texts))
    return lookup[codes.reshape(-1)], names, notes


def _note_mark(texts: Sequence[str]) -> tuple[str, ...]:
    """A note where one number beside 0, 1, ... is a usual mark of what a loss leaves out."""
    for mark in ("-100", "-1", "255"):
        others = [text for text in texts if text != mark]
        if len(texts) > len(others) > 1 and set(others) == {str(k) for k in range(len(others))}:
            return (
                f"the label {mark} is a class like the others, 0 to {len(others) - 1}; where it "
                f"marks what a loss ignores, take these rows out: labels != {mark}",
            )
    return ()


def _from_indicators(
    values: NDArray[Any], class_names: Sequence[str]
) -> tuple[Labels, tuple[str, ...], tuple[str, ...]]:
    count = values.shape[1]
    if not ((values == 0) | (values == 1)).all():
        raise DataError(
            f"labels of shape {list(values.shape)} hold more than 0 and 1",
            "store one whole number per image, or one column of 0 and 1 per class",
        )
    if class_names and len(class_names) != count:
        raise UsageError(
            f"data.class_names has {len(class_names)} names, the labels have {count} columns",
            "give one name for every column",
        )
    names = tuple(class_names) or tuple(str(number) for number in range(count))
    if len(values) and (values.sum(axis=1) == 1).all():
        return values.argmax(axis=1).astype(np.int64), names, ()
    note = f"an image may have several of the {count} labels: this is multi-label"
    return values.astype(np.float32), names, (note,)


def compare_splits(
    labels: Labels, given: NDArray[np.int8] | None, class_names: tuple[str, ...]
) -> tuple[str, ...]:
    """Notes on classes that val or test lacks; DataError for classes that only train lacks."""
    if given is None:
        return ()
    seen = {part: _classes_in(labels[given == part], len(class_names)) for part in (0, VAL, TEST)}
    notes = []
    for part in (VAL, TEST):
        if not seen[part].any():
            continue
        extra = np.flatnonzero(seen[part] & ~seen[TRAIN])
        if len(extra):
            names = [class_names[k] for k in extra]
            them = "it" if len(extra) == 1 else "them"
            hint = f"add training images of {them}, or take {them} out of {SPLIT_NAMES[part]}"
            known = [class_names[k] for k in np.flatnonzero(seen[TRAIN])]
            for name in names:
                if twin := find_twin(name, known) or find_longer(name, known):
                    hint = (
                        f"train has {name_some([twin])}: give both the same name if they are one "
                        "class"
                    )
                    break
            raise DataError(
                f"{SPLIT_NAMES[part]} has {'a class' if len(extra) == 1 else 'classes'} that "
                f"train lacks: {name_some(names)}",
                hint,
            )
        lacking = np.flatnonzero(seen[TRAIN] & ~seen[part])
        if len(lacking):
            notes.append(
                f"{SPLIT_NAMES[part]} has no image of {name_some(class_names[k] for k in lacking)}"
            )
    return tuple(notes)


def _classes_in(labels: Labels, count: int) -> NDArray[np.bool_]:
    if labels.ndim == 2:
        return np.asarray((labels > 0.5).any(axis=0))
    return np.bincount(labels, minlength=count) > 0
