"""Labels that are probably wrong: a ranked list, from probabilities.

Probabilities [N, K] must be of models that were not fitted to the image they are of (out of fold).
How many are wrong is counted by confident learning (Northcutt et al. 2021).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST = 1e-9  # probability

Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Suspects:
    """All images, the most suspicious label first."""

    order: NDArray[np.int64]  # [N] rows
    scores: NDArray[np.float64]  # [N] of each row: higher is more suspicious
    proposed: NDArray[np.int64]  # [N] the class that fits best
    count: int  # of labels that are probably wrong: the first so many


def rank_by_probabilities(probabilities: NDArray[np.floating], labels: Labels) -> Suspects:
    """Suspects from out-of-fold probabilities [N, K] and labels [N]."""
    scores, proposed = score_labels(probabilities, labels)
    order = np.argsort(-scores, kind="stable")
    return Suspects(order, scores, proposed, count_wrong(probabilities, labels))


def score_labels(
    probabilities: NDArray[np.floating], labels: Labels
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """How suspicious each label is [N], and the class that is proposed [N].

    The score is the log odds of the likeliest other class against the label. Unlike the probability
    of the label alone, it tells a sure contradiction from a model that knows nothing.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    rows = np.arange(len(p))
    others = p.copy()
    others[rows, labels] = -1.0
    proposed = others.argmax(axis=1)
    odds = np.log(p[rows, proposed] + LEAST) - np.log(p[rows, labels] + LEAST)
    return odds, proposed


def count_wrong(probabilities: NDArray[np.floating], labels: Labels) -> int:
    """How many labels are probably wrong, by confident learning: images that another class claims
    with at least the mean probability that its own images have.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    classes = p.shape[1]
    thresholds = np.array(
        [p[labels == k, k].mean() if (labels == k).any() else np.inf for k in range(classes)]
    )
    above = np.where(p >= thresholds, p, 0.0)
    best = above.argmax(axis=1)
    return int(((above.max(axis=1) > 0) & (best != labels)).sum())
