"""Labels that are probably wrong: a ranked list, from probabilities.

Probabilities [N, K] must be of models that were not fitted to the image they are of (out of fold).
How many are wrong is counted by confident learning (Northcutt et al. 2021).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchloupe.run.events import Verdict

LEAST = 1e-9  # probability
ODDS = 4.0  # of another class, so that a model that knows little accuses no label
FEWEST = 5  # labels of a split, from which something is said
LEAST_HELD_OUT, LEAST_TRAINED = 0.015, 0.01  # shares of a note
SURE_TRAINED = 0.015  # share of a warning
FEWEST_CLASSES = 4  # of a warning: with fewer, all mistakes are of the same few kinds
LEAST_ACCURACY = 0.7  # of a model that is believed
SURE_ACCURACY, SURE_FIT = 0.95, 0.97  # of a warning: of all other held-out, and training, images
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
    """The labels of held-out images that a model contradicts, beside all of them."""

    count: int
    images: int
    accuracy: float
    classes: int
    repeats: int  # pairs of them with the same label and the same proposal

    @property
    def rest_accuracy(self) -> float:
        """The accuracy over all other images."""
        return self.accuracy * self.images / max(self.images - self.count, 1)

    @property
    def are_spread(self) -> bool:
        """Whether they are spread over the classes as accidents are, not as confusions."""
        kinds = self.classes * (self.classes - 1)
        by_chance = self.count * (self.count - 1) / 2 / max(kinds, 1)
        return self.classes >= FEWEST_CLASSES and self.repeats <= 3 * by_chance + 3


def count_contradictions(
    probabilities: NDArray[np.floating], labels: Labels, odds: float = ODDS
) -> Contradictions:
    """Labels [N] that have at most 1/`odds` of what the likeliest class has."""
    p = np.asarray(probabilities, dtype=np.float64)
    rows, likeliest = np.arange(len(p)), p.argmax(axis=1)
    against = p[rows, labels] * odds <= p[rows, likeliest]
    kinds = labels[against] * p.shape[1] + likeliest[against]
    _, each = np.unique(kinds, return_counts=True)
    repeats = int((each * (each - 1) // 2).sum())
    accuracy = float((likeliest == labels).mean())
    return Contradictions(int(against.sum()), len(p), accuracy, p.shape[1], repeats)


@dataclass(frozen=True)
class Unfitted:
    """The training labels that never fit, beside all of them."""

    count: int = 0
    images: int = 0
    fit: float = 0.0  # share of the others that were right at the end

    @property
    def share(self) -> float:
        """How many of all there are."""
        return self.count / max(self.images, 1)


def judge_suspects(
    held_out: Contradictions, split: str, ids: Sequence[str], trained: Unfitted
) -> list[Verdict]:
    """What the suspected labels of a run say; `ids` of all of them, the likeliest first.

    `held_out` counts those of `split`. A note where these and those of training are more than a
    good model has, and a warning where the model knows all others and they are spread over the
    classes: mistakes of a model repeat the same few confusions.
    """
    if held_out.count < FEWEST or held_out.accuracy < LEAST_ACCURACY:
        return []
    share = held_out.count / held_out.images
    if share < LEAST_HELD_OUT or trained.share < LEAST_TRAINED:
        return []
    is_known = held_out.rest_accuracy >= SURE_ACCURACY and trained.fit >= SURE_FIT
    is_sure = is_known and held_out.are_spread and trained.share >= SURE_TRAINED
    kind = "all kinds of classes" if held_out.are_spread else "classes that are confused often"
    return [
        Verdict(
            "suspected-labels",
            "warning" if is_sure else "note",
            seen=f"the model contradicts {held_out.count:,} of {held_out.images:,} labels of "
            f"{split} with {ODDS:g} times their probability, of {kind}, and {trained.count:,} "
            f"of {trained.images:,} training labels never fit what was learned",
            remedy="look at RUN/suspected-labels.csv, the likeliest first, or at "
            "run.suspected_labels",
            where=split,
            why="wrong labels of training images teach mistakes, and those of test images hide "
            "right answers",
            samples=tuple(ids[:MOST_SAMPLES]),
            numbers={"held_out": share, "train": trained.share},
        )
    ]
