"""The interval of a score over the folds of a cross-validation."""

import math
from collections.abc import Sequence

import numpy as np

from torchloupe.errors import UsageError


def corrected_t_interval(
    values: Sequence[float], train_count: float, test_count: float
) -> tuple[float, float, float]:
    """The mean of a score over folds and its 95 % interval: (mean, low, high).

    Folds share most of their training images, so the plain t interval is too narrow. Nadeau and
    Bengio 2003, "Inference for the generalization error", section 5: the variance of the mean of
    k values is (1/k + test/train) times their sample variance, with k - 1 degrees of freedom.
    """
    k = len(values)
    if k < 2 or train_count <= 0 or test_count <= 0:
        raise UsageError(
            "an interval over folds needs two folds or more, with images to train and test on",
            "give more folds",
        )
    from scipy.special import stdtrit

    mean = float(np.mean(values))
    spread = math.sqrt((1 / k + test_count / train_count) * float(np.var(values, ddof=1)))
    half = float(stdtrit(k - 1, 0.975)) * spread
    return mean, mean - half, mean + half


def within_shares(interval: Sequence[float]) -> tuple[float, float]:
    """An interval of a share, cut off at 0 and 1: the t interval knows no bounds."""
    low, high = (min(max(float(end), 0.0), 1.0) for end in interval)
    return low, high
