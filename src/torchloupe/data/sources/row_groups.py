"""Groups of images by a column of a table: of one patient, session or animal."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.groups import FEWEST_GROUPS
from torchloupe.data.sources.column_names import may_name_groups, surely_names_groups
from torchloupe.data.sources.column_roles import plain_name
from torchloupe.data.split import TRAIN
from torchloupe.errors import printable

_FEWEST_UNSURE = 10  # groups by a column that may as well be something else


def read_groups(
    columns: Sequence[tuple[str, NDArray[Any]]],
    given: NDArray[np.int8] | None,
    labels: NDArray[Any] | None,
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """The group of each row by the first column whose cells repeat, and a note on it.

    `labels` [N] or [N, K] are those of the rows, if known: a class of one group alone would be in
    one split, and its groups are left out, with a note.
    """
    is_split = given is not None and bool((given != TRAIN).any())
    for name, texts in columns:
        found, numbers = np.unique(texts, return_inverse=True)
        if name.lower() == "group":
            return numbers.astype(np.int64), ()
        is_sure = surely_names_groups(plain_name(name))
        fewest = FEWEST_GROUPS if is_sure else _FEWEST_UNSURE
        if not fewest <= len(found) < len(texts) or (texts == "").any():
            continue
        if labels is not None and labels.ndim == 1 and _holds_whole_class(numbers, labels):
            note = (
                f"images of one {printable(name)!r} are not kept in one split: a class has only one"
            )
            return None, () if is_split else (note,)
        note = (
            f"images of one {printable(name)!r} stay in one split, {len(found):,} in all "
            "(data.group=none takes each image by itself)"
        )
        notes = _note_torn(name, numbers, given) if given is not None and is_split else (note,)
        return numbers.astype(np.int64), notes
    return None, ()


def _note_torn(name: str, numbers: NDArray[Any], given: NDArray[np.int8]) -> tuple[str, ...]:
    """A note on groups that have images in several of the given splits."""
    pairs = np.unique(np.stack([numbers.reshape(-1), given]), axis=1)
    counts = np.bincount(pairs[0])
    torn = int((counts > 1).sum())
    if not torn:
        return ()
    return (
        f"images of one {printable(name)!r} are in several splits, for {torn:,} of "
        f"{len(counts):,}: the score is better than on new ones",
    )


def note_possible_groups(
    preview: Mapping[str, NDArray[Any]], used: Sequence[str], labels: NDArray[Any] | None
) -> tuple[str, ...]:
    """A note on a column, not one of `used`, that may say which images belong together.

    Its name suggests it, and its first cells are ten values or more, of which most stand in
    several rows; `labels` [N] are the first label cells. Where a class has one value alone, the
    column may name classes.
    """
    for name, values in preview.items():
        if name in used or not may_name_groups(plain_name(name)) or (values == "").any():
            continue
        found, numbers, counts = np.unique(values, return_inverse=True, return_counts=True)
        is_many = len(found) >= _FEWEST_UNSURE and 2 * int((counts > 1).sum()) > len(found)
        if is_many and (labels is None or not _holds_whole_class(numbers.reshape(-1), labels)):
            return (
                f"column {printable(name)!r} may say which images belong together, and is not "
                "used: call it group to keep those of one value in one split",
            )
    return ()


def _holds_whole_class(groups: NDArray[Any], labels: NDArray[Any]) -> bool:
    """Whether a class of several images lies in one group."""
    _, codes = np.unique(labels, return_inverse=True)
    pairs = np.unique(np.stack([codes.reshape(-1), groups.reshape(-1)]), axis=1)
    alone = np.bincount(pairs[0]) == 1
    return bool((alone & (np.bincount(codes.reshape(-1)) > 1)).any())
