"""The corrected resampled t interval against scipy."""

import math

import numpy as np
import pytest
import scipy.stats

from torchloupe.errors import UsageError
from torchloupe.evaluation.folds import corrected_t_interval, within_shares


def test_corrected_t_interval_equals_the_formula_of_scipy():
    """Nadeau and Bengio 2003; at test/train = 0 it is the ordinary t interval."""
    values = [0.91, 0.93, 0.90, 0.95, 0.92]
    mean, low, high = corrected_t_interval(values, 800, 200)
    error = math.sqrt((1 / 5 + 0.25) * np.var(values, ddof=1))
    assert (mean, low, high) == pytest.approx(
        (np.mean(values), *scipy.stats.t.interval(0.95, 4, np.mean(values), error))
    )
    plain = scipy.stats.t.interval(0.95, 4, np.mean(values), scipy.stats.sem(values))
    assert corrected_t_interval(values, 1e12, 1)[1:] == pytest.approx(plain)


@pytest.mark.parametrize(("values", "test"), [([0.9], 20), ([0.9, 0.8], 0)])
def test_corrected_t_interval_needs_two_folds_with_images(values, test):
    with pytest.raises(UsageError, match="two folds or more, with images"):
        corrected_t_interval(values, 80, test)


def test_interval_of_a_share_ends_at_0_and_1():
    assert within_shares([-0.1, 1.09]) == (0, 1)
    assert within_shares([0.2, 0.9]) == (0.2, 0.9)
