"""The stratified bootstrap of a classifier's scores: every score of thousands of draws at once.

A draw is a column of weights: how often each image is in it. Scores are functions of weights, so
one code gives the number itself (all weights 1), its spread, and that of a difference of models.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from torchloupe.evaluation.ranking import Floats, Ranking, Weights, grouping

DRAWS = 2000
WEIGHTS_AT_ONCE = 2**22  # of all images in the draws that are computed together
MOST_RANKED = 2 * 10**10  # weights read for AUROC and average precision; more take minutes


@dataclass(frozen=True)
class Answers:
    """What one model said of N images, beside the truth.

    One label an image: `labels` and `predictions` [N] are class numbers. Several: both are [N, K],
    0 or 1. `values` are numbers of each image [N] whose mean is a score, such as a loss.
    """

    labels: NDArray[np.integer]
    predictions: NDArray[np.integer]
    probabilities: NDArray[np.floating] | None  # [N, K]
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
    def strata(self) -> NDArray[np.integer]:
        """The group of each image whose size every draw keeps: its class, where it has one."""
        return np.zeros(len(self.labels), np.int64) if self.multi_label else self.labels


class WeightedScores:
    """The scores of one model as a function of how often each image counts."""

    def __init__(self, answers: Answers, *, with_ranks: bool = True) -> None:
        """`with_ranks`: AUROC and average precision too, where there are probabilities."""
        self._answers = answers
        labels, predictions, classes = answers.labels, answers.predictions, answers.classes
        images = len(labels)
        if answers.multi_label:
            parts = (labels * predictions, predictions, labels)
            self._sums = [scipy.sparse.csr_array(part.T.astype(np.float32)) for part in parts]
        else:
            right = np.flatnonzero(answers.right)
            self._sums = [_by_class(right, labels, classes)]
            self._sums += [_by_class(np.arange(images), p, classes) for p in (predictions, labels)]
        self._means = {"accuracy": answers.right.astype(np.float64), **answers.values}
        self._rankings = []
        if with_ranks and answers.probabilities is not None:
            truth = labels if answers.multi_label else labels[:, None] == np.arange(classes)
            rankings = (
                Ranking(answers.probabilities[:, k], truth[:, k].astype(bool))
                for k in range(classes)
            )
            self._rankings = [ranking for ranking in rankings if ranking.has_positives]

    def measure(self, weights: Weights) -> dict[str, Floats]:
        """Each score [D] for `weights` [N, D]; NaN where a draw leaves one undefined."""
        total = weights.sum(axis=0, dtype=np.float64)
        exact = weights.astype(np.float64)
        scores = {name: (values @ exact) / total for name, values in self._means.items()}
        hits, predicted, labels = ((part @ weights).astype(np.float64) for part in self._sums)
        scores["macro_f1"] = _mean_over(2 * hits, predicted + labels)
        if not self._answers.multi_label:
            scores |= _of_confusion(hits, predicted, labels)
        return scores | self._measure_ranks(weights)

    def _measure_ranks(self, weights: Weights) -> dict[str, Floats]:
        if not self._rankings:
            return {}
        found = np.array([ranking.measure(weights) for ranking in self._rankings])  # [K, 2, D]
        defined = np.array([ranking.has_negatives for ranking in self._rankings])
        precision = "mean_average_precision" if self._answers.multi_label else "average_precision"
        scores = {precision: _mean_of_defined(found[:, 1])}
        return {"auroc": _mean_of_defined(found[defined, 0]), **scores} if defined.any() else scores


def _by_class(rows: NDArray[np.integer], of_image: NDArray[np.integer], classes: int) -> Any:
    """The matrix [K, N] that sums weights of the images `rows` over classes `of_image` [N]."""
    order = rows[np.argsort(of_image[rows], kind="stable")]
    starts = np.searchsorted(of_image[order], np.arange(classes))
    return grouping(order, starts, len(of_image))


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


def draw_weights(
    strata: NDArray[np.integer], draws: int = DRAWS, seed: int = 0
) -> Iterator[Weights]:
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
    images of each, so that differences of scores are paired. AUROC and average precision are left
    out of the draws, not of the scores, where they would take minutes (MOST_RANKED).
    """
    first = models[0]
    images, classes = len(first.labels), first.classes
    is_quick = draws * images * classes <= MOST_RANKED
    one = np.ones((images, 1), np.float32)
    exact = [WeightedScores(answers).measure(one) for answers in models]
    drawn = [WeightedScores(answers, with_ranks=is_quick) for answers in models]
    parts = [
        [scores.measure(weights) for scores in drawn]
        for weights in draw_weights(first.strata, draws, seed)
    ]
    return [
        (
            {name: float(values[0]) for name, values in exact[k].items()},
            {name: np.concatenate([part[k][name] for part in parts]) for name in parts[0][k]},
        )
        for k in range(len(models))
    ]
