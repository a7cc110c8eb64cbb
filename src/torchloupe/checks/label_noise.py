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

    The score is -log p(label), plus half the log of what the likeliest other class has, divided by
    how often it is taken for this label: a sure contradiction by a class that is rarely confused
    with the label counts most.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    rows, classes = np.arange(len(p)), p.shape[1]
    others = p.copy()
    others[rows, labels] = -1.0
    proposed = others.argmax(axis=1)
    confused = np.zeros((classes, classes))
    np.add.at(confused, labels, p)
    confused /= np.maximum(np.bincount(labels, minlength=classes), 1)[:, None]
    usual = np.median(confused[~np.eye(classes, dtype=bool)])
    often = np.maximum(confused / max(usual, LEAST), 1.0)[labels, proposed]
    against = np.log(p[rows, proposed] / often + LEAST)
    return against / 2 - np.log(p[rows, labels] + LEAST), proposed


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
