"""AUROC and average precision of one class under many weightings of the images at once.

A bootstrap needs both for thousands of draws. The order of the images is the same in all of them,
so it is found once; what a draw needs is then sums of weights between the positive images.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]  # how often each image counts, a column for each draw [N, D]
Floats = NDArray[np.float64]
DENSE_NUMBERS = 2**20  # of a dense matrix of groups


def grouping(groups: NDArray[Any], count: int) -> Any:
    """The matrix [count, N] that sums weights [N, D] over the images of each group.

    `groups` [N] are numbers; images of a group of `count` or more are left out. Sums of whole
    numbers in float32 are exact up to 2**24. The product takes a fifth of NumPy's reduceat.
    A small matrix is dense, so that small test sets don't wait for scipy.sparse to be imported.
    """
    if count * len(groups) <= DENSE_NUMBERS:
        dense: NDArray[np.float32] = (groups == np.arange(count)[:, None]).astype(np.float32)
        return dense
    rows = np.argsort(groups, kind="stable")
    ends = np.searchsorted(groups[rows], np.arange(count + 1))
    rows = rows[: ends[-1]]
    ones = np.ones(len(rows), np.float32)
    from scipy.sparse import csr_array

    return csr_array((ones, rows, ends), shape=(count, len(groups)))


class Ranking:
    """Images ranked by their score for one class."""

    def __init__(self, scores: NDArray[Any], is_positive: NDArray[np.bool_]) -> None:
        """`scores` [N], larger for the class; `is_positive` [N]: whether it is the class."""
        order = np.argsort(-scores, kind="stable")
        ranked, positive = -scores[order], is_positive[order]
        values, group = np.unique(ranked[positive], return_inverse=True)  # tied ones are a group
        others = ranked[~positive]
        above = np.searchsorted(others, values, "left")  # negatives ranked above the group
        until = np.searchsorted(others, values, "right")  # and with those tied to it
        bounds = np.unique(np.concatenate([[0], above, until, [len(others)]]))
        self._above, self._until = np.searchsorted(bounds, above), np.searchsorted(bounds, until)
        self._hits = len(values)
        groups = np.empty(len(scores), np.int64)
        groups[order[positive]] = group
        between = np.searchsorted(bounds, np.arange(len(others)), "right") - 1
        groups[order[~positive]] = self._hits + between
        self._sums = grouping(groups, self._hits + len(bounds) - 1)
        self.has_positives = bool(positive.any())
        self.has_negatives = not positive.all()

    def measure(self, weights: Weights) -> tuple[Floats, Floats]:
        """AUROC and average precision, each [D], with the images counted by `weights`.

        AUROC is the share of pairs (positive, negative) in order, ties half: Mann-Whitney's U.
        Average precision is the sum of (R_n - R_(n-1)) P_n over distinct scores, as scikit-learn
        defines it. NaN in a draw without positives, or without negatives (AUROC).
        """
        sums = self._sums @ weights
        hits = sums[: self._hits]  # [G, D]
        below = np.zeros((len(sums) - self._hits + 1, weights.shape[1]), np.float32)
        np.cumsum(sums[self._hits :], axis=0, out=below[1:])
        above, until = below[self._above], below[self._until]
        positives, negatives = hits.sum(axis=0, dtype=np.float64), below[-1].astype(np.float64)
        inverted = np.einsum("gd,gd->d", hits, above + until, dtype=np.float64) / 2
        found = np.cumsum(hits, axis=0)
        precision = np.divide(found, np.maximum(found + until, 1), dtype=np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            auroc = 1 - inverted / (positives * negatives)
            average = np.einsum("gd,gd->d", hits, precision, dtype=np.float64) / positives
        return auroc, average
