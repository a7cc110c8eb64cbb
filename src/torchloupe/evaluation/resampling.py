"""The stratified bootstrap of a classifier's scores: every score of thousands of draws at once.

A draw is a column of weights: how often each image is in it. Scores are functions of weights, so
one code gives the number itself (all weights 1), its spread, and that of a difference of models.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.evaluation.ranking import Floats, Ranking, Weights, grouping

DRAWS = 2000
WEIGHTS_AT_ONCE = 2**22  # of all images in the draws that are computed together
MOST_RANKED = 4 * 10**9  # weights read for AUROC and average precision; more would take minutes
FEWEST_OF_CLASS = 3  # images, below which a class shares its draws with other small ones
FEWEST_RANKED = 200  # draws of the two; with fewer their spread is not known well enough


@dataclass(frozen=True)
class Answers:
    """What one model said of N images, beside the truth.

    One label an image: `labels` and `predictions` [N] are class numbers. Several: both are [N, K],
    0 or 1. `values` are numbers of each image [N] whose mean is a score, such as a loss.
    """

    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    probabilities: NDArray[Any] | None  # [N, K]
    classes: int
    values: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels."""
        return self.labels.ndim == 2

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which images are right [N]: all of their labels, where there are several."""
        same = self.labels == self.predictions
        return np.asarray(same.all(axis=1) if self.multi_label else same)

    @property
    def strata(self) -> NDArray[np.int64]:
        """The group of each image whose size every draw keeps: its class, where it has one.

        One image drawn once is always the same and has no spread. So classes of fewer than
        FEWEST_OF_CLASS images are one group; if that is one image, with the next larger class.
        """
        if self.multi_label:
            return np.zeros(len(self.labels), np.int64)
        counts = np.bincount(self.labels, minlength=self.classes)
        order = np.argsort(counts, kind="stable")
        small = int((counts < FEWEST_OF_CLASS).sum())
        if small and counts[order[:small]].sum() == 1:
            small = min(small + 1, self.classes)
        group = np.arange(self.classes)
        group[order[:small]] = order[small - 1]
        return np.asarray(group[self.labels])


class WeightedScores:
    """The scores of one model as a function of how often each image counts."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._means = {"accuracy": answers.right.astype(np.float64), **answers.values}
        self._sums = list(_count_classes(answers))
        self._rankings: list[Ranking] = []

    def measure(self, weights: Weights) -> dict[str, Floats]:
        """Each score [D] for `weights`, those of ranks aside; NaN where one is undefined."""
        total = weights.sum(axis=0, dtype=np.float64)
        exact = weights.astype(np.float64)
        scores = {name: (values @ exact) / total for name, values in self._means.items()}
        hits, predicted, labels = ((part @ weights).astype(np.float64) for part in self._sums)
        scores["macro_f1"] = _mean_over(2 * hits, predicted + labels)
        if not self._answers.multi_label:
            scores |= _of_confusion(hits, predicted, labels)
        return scores

    def measure_ranks(self, weights: Weights, *, keep: bool = True) -> dict[str, Floats]:
        """AUROC and average precision [D], means over the classes; nothing without probabilities.

        `keep` keeps the order of the images for the next call: 8 bytes an image and class.
        """
        found, defined = [], []
        for ranking in self._rankings or self._rank():
            found.append(ranking.measure(weights))
            defined.append(ranking.has_negatives)
            if keep and len(self._rankings) < len(found):
                self._rankings.append(ranking)
        if not found:
            return {}
        both, fine = np.array(found), np.array(defined)  # [K, 2, D]
        precision = "mean_average_precision" if self._answers.multi_label else "average_precision"
        scores = {precision: _mean_of_defined(both[:, 1])}
        return {"auroc": _mean_of_defined(both[fine, 0]), **scores} if fine.any() else scores

    def _rank(self) -> Iterator[Ranking]:
        """The ranking of each class that has an image."""
        p, labels = self._answers.probabilities, self._answers.labels
        for k in range(0 if p is None else self._answers.classes):
            truth = labels[:, k] > 0 if self._answers.multi_label else labels == k
            if p is not None and truth.any():
                yield Ranking(p[:, k], truth)


def _count_classes(answers: Answers) -> Iterator[Any]:
    """Matrices [K, N] that sum weights over the hits, predictions and labels of each class."""
    labels, predictions, classes = answers.labels, answers.predictions, answers.classes
    if answers.multi_label:
        for part in (labels * predictions, predictions, labels):
            yield np.ascontiguousarray(part.T, np.float32)
    else:
        for groups in (np.where(answers.right, labels, classes), predictions, labels):
            yield grouping(groups, classes)


def _of_confusion(hits: Floats, predicted: Floats, labels: Floats) -> dict[str, Floats]:
    """Balanced accuracy, Matthews' correlation and Cohen's kappa from counts [K, D].

    Gorodkin 2004, "Comparing two K-category assignments by a K-category correlation coefficient";
    Cohen 1960, "A coefficient of agreement for nominal scales".
    """
    total, right = labels.sum(axis=0), hits.sum(axis=0)
    chance = (predicted * labels).sum(axis=0)
    spread = (total**2 - (predicted**2).sum(axis=0)) * (total**2 - (labels**2).sum(axis=0))
    covariance = right * total - chance
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa = covariance / (total**2 - chance)
    return {
        "balanced_accuracy": _mean_over(hits, labels),
        "mcc": covariance / np.where(spread > 0, np.sqrt(np.maximum(spread, 0)), np.inf),
        "kappa": kappa,
    }


def _mean_over(parts: Floats, wholes: Floats) -> Floats:
    """The mean [D] of parts / wholes [K, D] over the classes whose whole is not 0."""
    ratios = np.divide(parts, wholes, out=np.zeros_like(parts), where=wholes > 0)
    return np.asarray(ratios.sum(axis=0) / np.maximum((wholes > 0).sum(axis=0), 1))


def _mean_of_defined(values: Floats) -> Floats:
    """The mean [D] over the classes [K, D] that are not NaN."""
    fine = ~np.isnan(values)
    count = fine.sum(axis=0)
    total = np.where(fine, values, 0.0).sum(axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def draw_weights(strata: NDArray[np.int64], draws: int = DRAWS, seed: int = 0) -> Iterator[Weights]:
    """Weights [N, D] of `draws` bootstrap draws, in pieces of some draws.

    Each draw takes from every stratum as many images as it has, with replacement. The same
    strata, draws and seed give the same weights.
    """
    random = np.random.default_rng(seed)
    rows = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    at_once = max(1, min(draws, WEIGHTS_AT_ONCE // max(len(strata), 1)))
    for start in range(0, draws, at_once):
        width = min(at_once, draws - start)
        weights = np.empty((len(strata), width), np.float32)
        for members in rows:
            chosen = random.integers(0, len(members), (len(members), width)) * width
            counts = np.bincount(
                (chosen + np.arange(width)).ravel(), minlength=len(members) * width
            )
            weights[members] = counts.reshape(len(members), width)
        yield weights


def bootstrap(
    models: Sequence[Answers], *, draws: int = DRAWS, seed: int = 0
) -> list[tuple[dict[str, float], dict[str, Floats]]]:
    """For each model its scores, and their values in `draws` [D] stratified draws.

    All models must have answered for the same images in the same order: every draw takes the same
    images of each, so that differences of scores are paired. AUROC and average precision have
    fewer draws, or none, where 2,000 would take minutes (MOST_RANKED): 800 for 10,000 images of
    500 classes, none for 50,000 of 1,000.
    """
    images, classes = len(models[0].labels), models[0].classes
    ranked = min(draws, MOST_RANKED // (images * classes * len(models)))
    ranked = 0 if ranked < min(draws, FEWEST_RANKED) else ranked
    scores = [WeightedScores(answers) for answers in models]
    one = np.ones((images, 1), np.float32)
    exact = [{**each.measure(one), **each.measure_ranks(one, keep=ranked > 0)} for each in scores]
    parts: list[list[dict[str, Floats]]] = [[] for _ in models]
    ranks: list[list[dict[str, Floats]]] = [[] for _ in models]
    done = 0
    for weights in draw_weights(models[0].strata, draws, seed):
        for k, each in enumerate(scores):
            parts[k].append(each.measure(weights))
            if done < ranked:
                ranks[k].append(each.measure_ranks(weights[:, : ranked - done]))
        done += weights.shape[1]
    return [
        (
            {name: float(values[0]) for name, values in exact[k].items()},
            {**_join(parts[k]), **_join(ranks[k])},
        )
        for k in range(len(models))
    ]


def _join(pieces: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    names = pieces[0] if pieces else {}
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in names}
