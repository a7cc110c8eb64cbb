"""AUROC and average precision of one class under many weightings of the images at once.

A bootstrap needs both for thousands of draws. The order of the images is the same in all of them,
so it is found once; what a draw needs is then sums of weights between the positive images.
"""

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

Weights = NDArray[np.float32]  # how often each image counts, a column for each draw [N, D]
Floats = NDArray[np.float64]


def grouping(rows: NDArray[np.integer], starts: NDArray[np.integer], images: int) -> Any:
    """The sparse matrix [G, N] that sums weights over groups of images.

    `rows` [M] are numbers of images, group after group; a group reaches from its start to the
    next one. Sums of whole numbers in float32 are exact up to 2**24.
    """
    ends = np.append(starts, len(rows))
    ones = np.ones(len(rows), np.float32)
    return scipy.sparse.csr_array((ones, rows, ends), shape=(len(starts), images))


class Ranking:
    """Images ranked by their score for one class."""

    def __init__(self, scores: NDArray[np.floating], is_positive: NDArray[np.bool_]) -> None:
        """`scores` [N], larger for the class; `is_positive` [N]: whether it is the class."""
        images = len(scores)
        order = np.argsort(-scores, kind="stable")
        ranked, positive = -scores[order], is_positive[order]
        values, starts = np.unique(ranked[positive], return_index=True)
        self._hits = grouping(order[positive], starts, images)  # tied positives are one group
        others = ranked[~positive]
        above = np.searchsorted(others, values, "left")  # negatives ranked above the group
        until = np.searchsorted(others, values, "right")  # and with those tied to it
        bounds = np.union1d([0], np.concatenate([above, until]))
        self._between = grouping(order[~positive], bounds[bounds < len(others)], images)
        self._above = np.searchsorted(bounds, above)
        self._until = np.searchsorted(bounds, until)
        self.has_positives = bool(positive.any())
        self.has_negatives = not positive.all()

    def measure(self, weights: Weights) -> tuple[Floats, Floats]:
        """AUROC and average precision, each [D], with the images counted by `weights`.

        AUROC is the share of pairs (positive, negative) in order, ties half: Mann-Whitney's U.
        Average precision is the sum of (R_n - R_(n-1)) P_n over distinct scores, as scikit-learn
        defines it. NaN in a draw without positives, or without negatives (AUROC).
        """
        hits = self._hits @ weights  # [G, D]
        between = self._between @ weights
        below = np.zeros((len(between) + 1, weights.shape[1]), np.float32)
        np.cumsum(between, axis=0, out=below[1:])
        above, until = below[self._above], below[self._until]
        positives, negatives = hits.sum(axis=0, dtype=np.float64), below[-1].astype(np.float64)
        inverted = np.einsum("gd,gd->d", hits, above + until, dtype=np.float64) / 2
        found = np.cumsum(hits, axis=0)
        precision = np.divide(found, np.maximum(found + until, 1), dtype=np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            auroc = 1 - inverted / (positives * negatives)
            average = np.einsum("gd,gd->d", hits, precision, dtype=np.float64) / positives
        return auroc, average
