"""Labels that are probably wrong: a ranked list, from probabilities.

Probabilities [N, K] must be of models that were not fitted to the image they are of (out of fold).
How many are wrong is counted by confident learning (Northcutt et al. 2021).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchloupe.run.events import Verdict

LEAST = 1e-9  # probability
ODDS = 4.0  # of another class, so that a model that knows little accuses no label
MANY, SURELY = 3.0, 4.0  # times what is expected, and standard deviations, of a warning
FEWEST = 5  # labels of a warning
MOST_SAMPLES = 20

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


@dataclass(frozen=True)
class Contradictions:
    """How many labels a model contradicts, and how many it would by its own confidences."""

    count: int
    expected: float
    spread: float  # standard deviation of the expected number
    images: int

    @property
    def is_too_many(self) -> bool:
        """Whether mistakes of the model hardly explain them."""
        sure = self.expected + SURELY * max(self.spread, 1.0)
        return self.count >= FEWEST and self.count > max(MANY * self.expected, sure)


def count_contradictions(
    probabilities: NDArray[np.floating], labels: Labels, odds: float = ODDS
) -> Contradictions:
    """Labels [N] that have less than 1/`odds` of what the likeliest class has.

    A model whose confidences are right contradicts, on average, as many right labels as the
    probabilities of all such classes add up to.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    is_unlikely = p * odds <= p.max(axis=1, keepdims=True)
    chances = (p * is_unlikely).sum(axis=1)
    count = int(is_unlikely[np.arange(len(p)), labels].sum())
    spread = math.sqrt(float((chances * (1 - chances)).sum()))
    return Contradictions(count, float(chances.sum()), spread, len(p))


def judge_suspects(
    held_out: Contradictions | None, split: str, ids: Sequence[str], trained: int
) -> list[Verdict]:
    """What the suspected labels of a run say; `ids` of all of them, the likeliest first.

    `held_out` counts those of `split`, and `trained` those of the training images. A warning
    where the model's own mistakes hardly explain them, else a note where there are some more than
    expected.
    """
    if held_out is None or held_out.count <= held_out.expected + held_out.spread:
        return []
    seen = (
        f"the model contradicts {held_out.count:,} of {held_out.images:,} labels of {split}, at "
        f"least {ODDS:g} to 1; by its confidences {held_out.expected:.1f} would be expected"
    )
    more = f". {trained:,} training labels never fit what was learned" if trained else ""
    return [
        Verdict(
            "suspected-labels",
            "warning" if held_out.is_too_many else "note",
            seen=seen + more,
            remedy="look at RUN/suspected-labels.csv, the likeliest first, or at "
            "run.suspected_labels",
            where=split,
            why="wrong labels of training images teach mistakes, and those of test images hide "
            "right answers",
            samples=tuple(ids[:MOST_SAMPLES]),
            numbers={"held_out": held_out.count, "expected": held_out.expected, "train": trained},
        )
    ]
