"""Several labels an image, as lists of class names or of class numbers: `[["a"], ["a", "b"]]`.

Rows of 0 and 1, a place for each class, are no such lists.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.sources.labels import Labels, order_classes
from torchloupe.data.sources.spelling import note_joined, note_twins
from torchloupe.errors import DataError, printable

_LISTS = (list, tuple, set, frozenset)


def holds_lists(values: Any) -> bool:
    """Whether some of these labels are lists, and not an array of numbers as a whole."""
    if hasattr(values, "detach"):
        return False
    if getattr(getattr(values, "dtype", None), "kind", "O") != "O":
        return values.ndim == 2 and values.dtype.kind in "UST"
    return any(isinstance(row, _LISTS) or getattr(row, "ndim", 0) == 1 for row in values)


def read_sets(values: Sequence[Any], is_sure: bool = False) -> list[list[str]] | None:
    """The labels of each image as texts; None where these are no lists of names or class numbers.

    Numbers in lists of one length may be anything, such as boxes: they count with `is_sure`, if no
    list repeats one. DataError for a number below 0.
    """
    rows = [_list_row(row) for row in values]
    entries = [entry for row in rows for entry in row or ()]
    if None in rows or not entries:
        return None
    if all(isinstance(entry, (int, np.integer)) for entry in entries):
        numbers = [[int(entry) for entry in row or ()] for row in rows]
        if not _are_sets(numbers, is_sure):
            return None
        wrong = next((row for row, own in enumerate(numbers) if min(own, default=0) < 0), None)
        if wrong is not None:
            raise DataError(
                f"row {wrong} has the label {min(numbers[wrong])}, below 0",
                "count class numbers from 0",
            )
    elif not all(isinstance(entry, (str, bytes)) for entry in entries):
        return None
    return [list(dict.fromkeys(map(_as_text, row or ()))) for row in rows]


def label_sets(
    sets: Sequence[Sequence[str]], class_names: Sequence[str] = ()
) -> tuple[Labels, tuple[str, ...], tuple[str, ...]]:
    """Labels, class names and notes: [N, K] float32, or [N] int64 where each image has one label.

    DataError for a name that is empty.
    """
    words = sorted({word for own in sets for word in own})
    if "" in words:
        row = next(row for row, own in enumerate(sets) if "" in own)
        raise DataError(f"row {row} has a label that is empty", "give each label a name")
    classes, lookup = order_classes(words, class_names)
    place = dict(zip(words, lookup.tolist(), strict=True))
    notes = (*note_joined(words), *note_twins(classes))
    if all(len(own) == 1 for own in sets):
        return np.array([place[own[0]] for own in sets], dtype=np.int64), classes, notes
    labels: NDArray[np.float32] = np.zeros((len(sets), len(classes)), dtype=np.float32)
    for row, own in zip(labels, sets, strict=True):
        row[[place[word] for word in own]] = 1
    note = f"labels in lists hold several labels: this is multi-label, {len(classes)} labels"
    return labels, classes, (note, *notes)


def _list_row(row: Any) -> list[Any] | None:
    """The labels of an image: of a list, an array or tensor [K], or one alone."""
    if isinstance(row, (set, frozenset)):
        return sorted(row, key=printable)
    if isinstance(row, (list, tuple)):
        plain = [entry.item() if np.ndim(entry) == 0 and hasattr(entry, "item") else entry
                 for entry in row]  # fmt: skip
    elif np.ndim(row) == 1:
        plain = row.tolist()
    else:
        plain = [row.item() if hasattr(row, "item") and np.ndim(row) == 0 else row]
    is_plain = all(isinstance(entry, (str, bytes, int)) for entry in plain)
    return plain if is_plain and not any(isinstance(entry, bool) for entry in plain) else None


def _are_sets(rows: Sequence[Sequence[int]], is_sure: bool) -> bool:
    if len(set(map(len, rows))) > 1:
        return True
    if len(rows[0]) < 2 or all(number in (0, 1) for own in rows for number in own):
        return False
    return is_sure and all(len(set(own)) == len(own) for own in rows)


def _as_text(label: Any) -> str:
    return label.decode("utf-8", "backslashreplace") if isinstance(label, bytes) else str(label)
