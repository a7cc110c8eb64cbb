"""Tests of whether models that answered for the same images differ, and by how much."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, chdtrc

from torchloupe.errors import UsageError
from torchloupe.evaluation.resampling import DRAWS, Answers, bootstrap


@dataclass(frozen=True)
class McNemar:
    """Images that only one of two models has right, and how likely such a split is by chance."""

    only_first: int
    only_second: int
    p_value: float


def apply_mcnemar(first: NDArray[Any], second: NDArray[Any]) -> McNemar:
    """McNemar's exact test of two models: which images each has right, both bool [N].

    Where both are equally good, an image that one of them has right is either's with probability
    1/2: the two-sided p-value is that of a binomial. McNemar 1947; Edwards 1948.
    """
    _refuse_unequal([first, second])
    one, two = np.asarray(first, bool), np.asarray(second, bool)
    only_first, only_second = int((one & ~two).sum()), int((two & ~one).sum())
    apart = only_first + only_second
    tail = float(bdtr(min(only_first, only_second), apart, 0.5)) if apart else 1.0
    return McNemar(only_first, only_second, min(1.0, 2 * tail))


@dataclass(frozen=True)
class CochranQ:
    """Cochran's Q, its degrees of freedom, and how likely one as large is by chance."""

    statistic: float
    degrees: int
    p_value: float


def apply_cochran_q(right: Sequence[NDArray[Any]]) -> CochranQ:
    """Cochran's test of whether M models are equally good: which images each has right, [N].

    Q = (M - 1) (M sum C_j^2 - T^2) / (M T - sum R_i^2), with C_j right answers of model j, R_i of
    image i and T in all; under equality chi-squared with M - 1 degrees of freedom. Cochran 1950,
    "The comparison of percentages in matched samples". Q is 0 where no image tells models apart.
    """
    if len(right) < 2:
        raise UsageError("there are fewer than two models", "give the runs of all models")
    _refuse_unequal(right)
    table = np.array([np.asarray(row, bool) for row in right], np.float64)  # [M, N]
    models, total = len(table), table.sum()
    of_models, of_images = table.sum(axis=1), table.sum(axis=0)
    spread = models * total - (of_images**2).sum()
    if spread == 0:
        return CochranQ(0.0, models - 1, 1.0)
    q = float((models - 1) * (models * (of_models**2).sum() - total**2) / spread)
    return CochranQ(q, models - 1, float(chdtrc(models - 1, q)))


def adjust_by_holm(p_values: Sequence[float]) -> list[float]:
    """P-values of several tests, raised so that all together err as rarely as one.

    Holm 1979, "A simple sequentially rejective multiple test procedure": the i-th smallest of m
    is multiplied by m - i + 1; none is smaller than one before it, and none above 1.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    raised = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1.0) if len(p) else raised
    return [float(value) for value in adjusted]


@dataclass(frozen=True)
class ScoreDifference:
    """A score of two models, second minus first, with the 95 % interval of the difference."""

    name: str
    first: float
    second: float
    difference: float
    interval: tuple[float, float] | None  # None where the score was left out of the bootstrap


def compare_scores(
    first: Answers, second: Answers, *, draws: int = DRAWS, seed: int = 0
) -> list[ScoreDifference]:
    """Each score of two models for the same images, and the paired bootstrap of its difference.

    Every draw takes the same images of both. The interval is that of the percentiles: the
    difference of two scores is nearly symmetric where each of them is not. Raises UsageError for
    other images.
    """
    _refuse_unequal([first.labels, second.labels])
    if not np.array_equal(first.labels, second.labels):
        raise UsageError("the two models have other labels", "compare them on the same images")
    (one, one_draws), (two, two_draws) = bootstrap([first, second], draws=draws, seed=seed)
    found = []
    for name in one:
        if name not in two:
            continue
        interval = None
        if name in one_draws and name in two_draws:
            gaps = two_draws[name] - one_draws[name]
            gaps = gaps[np.isfinite(gaps)]
            if len(gaps):
                low, high = np.percentile(gaps, (2.5, 97.5))
                interval = (float(low), float(high))
        found.append(ScoreDifference(name, one[name], two[name], two[name] - one[name], interval))
    return found


def _refuse_unequal(rows: Sequence[NDArray[Any]]) -> None:
    counts = sorted({len(row) for row in rows})
    if len(counts) > 1 or not counts[0]:
        raise UsageError(
            f"paired tests need the same images of every model, got {counts}",
            "evaluate all models on the same images",
        )
