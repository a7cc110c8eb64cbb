"""95 % intervals of what was measured: shares, F1 of classes, scores of a test set."""

import math

import numpy as np
from numpy.typing import NDArray

from torchloupe.errors import DataError
from torchloupe.evaluation.resampling import DRAWS, Answers, bootstrap

Z = 1.959963984540054  # of the normal distribution at 97.5 %
CORRELATIONS = ("mcc", "kappa")  # scores from -1 to 1; the others are shares
RANKS = ("auroc", "average_precision", "mean_average_precision")
LOSSES = ("nll", "brier", "loss")  # means without an upper end

Interval = tuple[float, float]


def wilson_interval(successes: float, count: float, z: float = Z) -> Interval:
    """The 95 % confidence interval of a proportion (`z` standard deviations).

    Wilson 1927, "Probable inference, the law of succession, and statistical inference": with
    p = successes / count, (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n).
    """
    if not 0 <= successes <= count or not count:
        raise DataError(f"there is no share of {successes} in {count}", "count at least one image")
    share, square = successes / count, z * z / count
    centre = share + square / 2
    spread = z * math.sqrt(share * (1 - share) / count + square / (4 * count))
    low, high = (centre - spread) / (1 + square), (centre + spread) / (1 + square)
    return (0.0 if successes == 0 else low), (1.0 if successes == count else high)


def f1_interval(hits: int, predictions: int, labels: int) -> Interval | None:
    """The 95 % interval of the F1 of one class; None where it was neither there nor predicted.

    F1 = 2 F* / (1 + F*) with F* = hits / (predictions + labels - hits), a share of the images
    that are the class or were taken for it (Hand, Christen and Kirielle 2021, "F*: an
    interpretable transformation of the F-measure"): Wilson's interval of F*, transformed.
    """
    images = predictions + labels - hits
    if not images:
        return None
    low, high = wilson_interval(hits, images)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def precision_interval(
    hits: int, predictions: int, labels: int, false_variance: float
) -> Interval | None:
    """The 95 % interval of the precision of one class; None where it was never predicted.

    A test split has a fixed number of images of each class, `labels` of this one. So hits are
    binomial of `labels`, false alarms (predictions - hits) have `false_variance`, and the
    precision varies less than a share of `predictions` would: the delta method gives its
    variance, which gives a number of images, and Wilson's interval is for that many.
    """
    if not predictions:
        return None
    share = hits / predictions
    hit_variance = hits * (1 - hits / labels) if labels else 0.0
    variance = (1 - share) ** 2 * hit_variance + share**2 * false_variance
    variance /= predictions**2
    size = share * (1 - share) / variance if variance > 0 else float(predictions)
    return wilson_interval(share * size, size)


def score_interval(name: str, score: float, draws: NDArray[np.float64], images: int) -> Interval:
    """The 95 % interval of a score from its bootstrap `draws` [D] over `images`.

    Percentiles of the draws are too narrow near 1, where most scores are, so the draws give only
    the spread. Scores of counts: it is that of a share of n = s (1 - s) / variance images, and the
    interval is Wilson's. RANKS: a normal distribution of the logit, with 1 - s at least a tenth of
    what was measured. Losses have percentiles. Where no image is wrong there is no spread, and n
    is `images`. benchmarks/coverage.py measures how often each interval holds the truth.
    """
    values = draws[np.isfinite(draws)]
    if not len(values) or not math.isfinite(score):
        raise DataError(f"{name} is not defined for these images", "give images of every class")
    if name in LOSSES:
        low, high = np.percentile(values, (2.5, 97.5))
        return float(low), float(high)
    scale, offset = (2.0, -1.0) if name in CORRELATIONS else (1.0, 0.0)
    share = min(max((score - offset) / scale, 0.0), 1.0)
    if name in RANKS and 0 < share < 1:
        near = np.clip(values, share / 10, 1 - (1 - share) / 10)
        reach = Z * float(np.log(near / (1 - near)).std())
        low, high = ((1 - share) / share * math.exp(side * reach) for side in (1, -1))
        return 1 / (1 + low), 1 / (1 + high)
    variance = float(values.var()) / scale**2
    product = share * (1 - share)
    size = product / variance if variance > 0 and product > 0 else float(images)
    low, high = wilson_interval(share * size, size)
    return low * scale + offset, high * scale + offset


def measure_scores(
    answers: Answers, *, draws: int = DRAWS, seed: int = 0
) -> tuple[dict[str, float], dict[str, Interval]]:
    """Every score of `answers`, and the 95 % interval of each that the bootstrap has.

    2,000 stratified draws, by `seed`. Accuracy, a plain share, has Wilson's own interval.
    """
    scores, drawn = bootstrap([answers], draws=draws, seed=seed)[0]
    images = len(answers.labels)
    intervals = {
        name: score_interval(name, scores[name], values, images)
        for name, values in drawn.items()
        if math.isfinite(scores[name]) and np.isfinite(values).any()
    }
    return scores, {**intervals, "accuracy": wilson_interval(int(answers.right.sum()), images)}
