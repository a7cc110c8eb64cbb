"""Rows of datasets that are one row of the dataset below: repeated indices, overlapping Subsets.

What they show is the same image, perhaps augmented, so that they must not stand in two splits.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, Subset

from torchloupe.data.split import SPLIT_NAMES
from torchloupe.units import plural

Rows = NDArray[np.int64]


def find_same_rows(parts: Mapping[int, Any]) -> tuple[Rows | None, tuple[str, ...]]:
    """A number [N] for the row below of each row of one dataset; with notes.

    None if no row occurs twice, and for a dataset for each split: then a note counts the rows that
    are in several of them.
    """
    below = {part: _rows_below(dataset) for part, dataset in parts.items()}
    if len(below) == 1:
        (found,) = below.values()
        return _number(*found)
    notes = []
    seen: dict[int, Rows] = {}
    for part, (owners, rows) in below.items():
        again = count = 0
        for owner in np.unique(owners).tolist():
            own = np.unique(rows[owners == owner])
            known = seen.get(owner, own[:0])
            again += len(np.intersect1d(own, known, assume_unique=True))
            count += len(own)
            seen[owner] = np.union1d(known, own)
        if again:
            cause = "by the indices of the Subsets: the score is too good; divide the indices once"
            if not any(map(_has_subset, parts.values())):
                cause = "of the same dataset: the score is too good; give each split a dataset"
            notes.append(
                f"{again:,} of {plural(count, 'row')} of {SPLIT_NAMES[part]} are rows of "
                f"another split too, {cause}"
            )
    return None, tuple(notes)


def _number(owners: Rows, rows: Rows) -> tuple[Rows | None, tuple[str, ...]]:
    """`find_same_rows` of one dataset."""
    owner = np.unique(owners, return_inverse=True)[1].reshape(-1)
    found, numbers = np.unique(owner * (rows.max(initial=0) + 1) + rows, return_inverse=True)
    repeated = len(rows) - len(found)
    if not repeated:
        return None, ()
    note = (
        f"{plural(repeated, 'row is', 'rows are')} of the dataset again, by repeated indices: "
        "all rows of one image are kept in one split"
    )
    return numbers.reshape(-1).astype(np.int64), (note,)


def _has_subset(dataset: Any) -> bool:
    if isinstance(dataset, ConcatDataset):
        return any(map(_has_subset, dataset.datasets))
    return isinstance(dataset, Subset)


def _rows_below(dataset: Any) -> tuple[Rows, Rows]:
    """The identity of the dataset below [N] and the row in it [N] of each row."""
    if isinstance(dataset, Subset):
        owners, rows = _rows_below(dataset.dataset)
        indices = np.asarray(dataset.indices, dtype=np.int64)
        return owners[indices], rows[indices]
    if isinstance(dataset, ConcatDataset):
        found = [_rows_below(part) for part in dataset.datasets]
        return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])
    count = len(dataset)
    return np.full(count, id(dataset), dtype=np.int64), np.arange(count)
