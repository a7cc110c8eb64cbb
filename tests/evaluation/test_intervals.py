"""Intervals: against statsmodels and scipy, and how often they hold the truth."""

import math

import numpy as np
import pytest
from answers import make_answers
from statsmodels.stats.proportion import proportion_confint

from torchloupe.errors import DataError
from torchloupe.evaluation.intervals import (
    f1_interval,
    measure_scores,
    precision_interval,
    score_interval,
    wilson_interval,
)
from torchloupe.evaluation.resampling import bootstrap


def test_wilson_interval_equals_statsmodels():
    for count in (1, 7, 50, 10_000):
        for successes in {0, 1, count // 3, count - 1, count}:
            expected = proportion_confint(successes, count, method="wilson")
            assert wilson_interval(successes, count) == pytest.approx(expected, abs=1e-12)


def test_wilson_interval_refuses_no_images():
    with pytest.raises(DataError, match="no share of 0 in 0"):
        wilson_interval(0, 0)


def test_f1_interval_is_wilsons_of_the_share_of_the_union():
    low, high = f1_interval(80, 100, 90)
    share_low, share_high = wilson_interval(80, 110)
    assert low / (2 - low) == pytest.approx(share_low)
    assert high / (2 - high) == pytest.approx(share_high)
    assert low < 2 * 80 / 190 < high
    assert f1_interval(0, 0, 0) is None
    assert f1_interval(5, 5, 5)[1] == 1.0


def test_f1_interval_holds_the_truth_in_95_of_100_test_sets():
    random = np.random.default_rng(0)
    recall, false = 0.85, 0.02  # of 100 images of the class, and of 400 others
    truth = 2 * 85 / (85 + 8 + 100)
    inside = 0
    for _ in range(2000):
        hits, wrong = random.binomial(100, recall), random.binomial(400, false)
        low, high = f1_interval(hits, hits + wrong, 100)
        inside += low <= truth <= high
    assert 0.935 < inside / 2000 < 0.965


def test_precision_interval_holds_the_truth_in_95_of_100_test_sets():
    """100 images of the class, and 50 and 300 of others; Wilson's own would hold it in 97."""
    random = np.random.default_rng(0)
    truth = 80 / (80 + 10 + 6)
    inside = 0
    for _ in range(2000):
        hits = random.binomial(100, 0.8)
        false = random.binomial((50, 300), (0.2, 0.02))
        variance = sum(c * (1 - c / n) for c, n in zip(false, (50, 300), strict=True))
        low, high = precision_interval(hits, hits + false.sum(), 100, variance)
        inside += low <= truth <= high
    assert 0.935 < inside / 2000 < 0.965


def test_precision_interval_of_no_predictions_and_of_no_mistake():
    assert precision_interval(0, 0, 5, 0.0) is None
    assert precision_interval(5, 5, 9, 0.0) == wilson_interval(5, 5)
    assert precision_interval(0, 4, 0, 3.5) == wilson_interval(0, 4)


def test_intervals_hold_the_truth_in_95_of_100_test_sets():
    """300 test sets; benchmarks/coverage.py has 2,000."""
    counts, margin = (80, 80, 80), 3.0
    many = make_answers([100_000] * 3, margin, seed=10**6)
    truth, _ = bootstrap([many], draws=1)[0]
    inside = dict.fromkeys(truth, 0)
    for seed in range(300):
        _, intervals = measure_scores(make_answers(counts, margin, seed), draws=200)
        for name, (low, high) in intervals.items():
            inside[name] += low <= truth[name] <= high
    assert min(inside.values()) > 300 * 0.915
    assert max(inside.values()) < 300 * 0.985


def test_the_same_seed_gives_the_same_intervals():
    answers = make_answers((30, 30), 1.0)
    first, again = (measure_scores(answers, draws=100, seed=4)[1] for _ in range(2))
    assert first == again
    assert first != measure_scores(answers, draws=100, seed=5)[1]


def test_every_score_lies_in_its_interval():
    for seed in range(20):
        margin = (0.0, 1.0, 3.0, 8.0)[seed % 4]
        scores, intervals = measure_scores(make_answers((9, 30, 3), margin, seed), draws=100)
        assert set(scores) == set(intervals)
        for name, (low, high) in intervals.items():
            assert low <= scores[name] + 1e-12
            assert scores[name] - 1e-12 <= high
            assert -1 <= low < high <= 1


def test_without_an_error_the_interval_is_that_of_the_number_of_images():
    scores, intervals = measure_scores(make_answers((50, 50), 30.0), draws=50)
    assert set(scores.values()) == {1.0}
    low, _ = wilson_interval(100, 100)
    for name, found in intervals.items():
        scale = 2 if name in ("mcc", "kappa") else 1
        assert found == pytest.approx((1 - scale * (1 - low), 1.0))


def test_losses_have_percentiles():
    draws = np.linspace(0.1, 0.9, 801)
    assert score_interval("nll", 0.5, draws, 10) == pytest.approx((0.12, 0.88))


def test_an_undefined_score_has_no_interval():
    with pytest.raises(DataError, match="auroc is not defined"):
        score_interval("auroc", math.nan, np.array([np.nan]), 10)
