"""Temperature, calibration errors and coverage, against scikit-learn, scipy and formulas."""

import numpy as np
import pytest
import scipy.optimize
import sklearn.metrics as sk

from torchloupe.errors import DataError
from torchloupe.evaluation.calibration import (
    brier_of_images,
    describe_calibration,
    fit_temperature,
    make_reliability_table,
    nll_of_images,
    probabilities_of,
    trace_coverage,
)


def make_logits(images=4000, classes=5, sharpness=3.0, seed=0):
    """Logits whose temperature is `sharpness`: labels are drawn from their softmax at it."""
    random = np.random.default_rng(seed)
    calibrated = 2 * random.normal(size=(images, classes))
    p = probabilities_of(calibrated)
    labels = (random.random((images, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(0, classes - 1)
    return (sharpness * calibrated).astype(np.float32), labels


def make_several_logits(images=4000, classes=5, sharpness=3.0, seed=0):
    random = np.random.default_rng(seed)
    calibrated = 2 * random.normal(size=(images, classes))
    labels = random.random((images, classes)) < probabilities_of(calibrated, multi_label=True)
    return (sharpness * calibrated).astype(np.float32), labels.astype(np.int64)


@pytest.mark.parametrize("make", [make_logits, make_several_logits])
@pytest.mark.parametrize("sharpness", [0.2, 1.0, 3.0])
def test_temperature_is_found_again(make, sharpness):
    logits, labels = make(sharpness=sharpness)
    assert fit_temperature(logits, labels) == pytest.approx(sharpness, rel=0.05)


@pytest.mark.parametrize("make", [make_logits, make_several_logits])
def test_temperature_is_where_scipy_finds_the_smallest_nll(make):
    for seed in range(5):
        logits, labels = make(300, 3, seed=seed)
        found = scipy.optimize.minimize_scalar(
            lambda log_t, z=logits, y=labels: nll_of_images(z, y, np.exp(log_t)).mean(),
            bounds=(-4, 4),
            method="bounded",
            options={"xatol": 1e-9},
        )
        assert fit_temperature(logits, labels, 0.0) == pytest.approx(np.exp(found.x), rel=1e-4)


def test_log_probabilities_have_the_temperature_of_their_logits():
    logits, labels = make_logits(500)
    log_p = np.log(probabilities_of(logits))
    assert fit_temperature(log_p, labels) == pytest.approx(fit_temperature(logits, labels))


def test_temperature_has_ends_where_there_is_no_minimum():
    labels = np.arange(4)
    assert fit_temperature(np.eye(4), labels, 0.0) == 0.01  # all right: sharper is always better
    assert fit_temperature(-np.eye(4), labels) == 100.0  # all wrong
    assert fit_temperature(np.zeros((0, 4)), np.zeros(0, int)) == 1.0


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 30.0])
def test_images_that_are_all_right_make_nobody_certain(sharpness):
    labels = np.arange(100) % 4
    logits = sharpness * np.eye(4)[labels]
    p = probabilities_of(logits, fit_temperature(logits, labels))
    assert p.max() == pytest.approx(1 - 3 / 4 / 101, abs=1e-5)
    several = np.eye(4, dtype=np.int64)[labels]
    logits = sharpness * (2 * several - 1)
    p = probabilities_of(logits, fit_temperature(logits, several), multi_label=True)
    assert p.max() == pytest.approx(1 - 1 / 2 / 101, abs=1e-5)


def test_temperature_refuses_logits_that_are_not_finite():
    with pytest.raises(DataError, match="not finite"):
        fit_temperature(np.array([[np.nan, 1.0]]), np.array([0]))


def test_temperature_lowers_every_error_of_overconfident_logits():
    logits, labels = make_logits()
    before = describe_calibration(logits, labels)
    after = describe_calibration(logits, labels, fit_temperature(logits, labels))
    assert all(after[name] < before[name] for name in before)
    assert after["ece"] < before["ece"] / 5


@pytest.mark.parametrize("make", [make_logits, make_several_logits])
def test_nll_and_brier_equal_scikit_learn(make):
    logits, labels = make(400, sharpness=1.0)
    several = labels.ndim == 2
    p = probabilities_of(logits, multi_label=several)
    found = describe_calibration(logits, labels)
    if several:
        nll = np.mean([sk.log_loss(y, q) for y, q in zip(labels.T, p.T, strict=True)])
        brier = np.mean([sk.brier_score_loss(y, q) for y, q in zip(labels.T, p.T, strict=True)])
    else:
        nll = sk.log_loss(labels, p)
        brier = sk.brier_score_loss(labels, p, scale_by_half=False, labels=range(5))
    assert found["nll"] == pytest.approx(nll)
    assert found["brier"] == pytest.approx(brier)
    assert nll_of_images(logits, labels).shape == brier_of_images(p, labels).shape == (400,)


def test_reliability_table_equals_the_formula():
    random = np.random.default_rng(0)
    sure = random.random(1000).round(3)
    right = random.random(1000) < sure**2
    table = make_reliability_table(sure, right)
    bins = np.minimum((sure * 15).astype(int), 14)
    expected = sum(
        abs(right[bins == b].mean() - sure[bins == b].mean()) * (bins == b).mean()
        for b in range(15)
    )
    assert table.error == pytest.approx(expected)
    assert table.count.sum() == 1000
    assert ((table.low <= table.confidence) & (table.confidence <= table.high)).all()


def test_adaptive_bins_hold_equally_many():
    random = np.random.default_rng(1)
    sure = random.beta(9, 1, 1500)
    table = make_reliability_table(sure, random.random(1500) < sure, adaptive=True)
    assert table.count.tolist() == [100] * 15
    assert ((table.low <= table.confidence) & (table.confidence <= table.high)).all()


@pytest.mark.parametrize("adaptive", [False, True])
def test_equal_confidences_are_one_bin(adaptive):
    table = make_reliability_table(np.full(10, 0.9), np.array([1] * 7 + [0] * 3), adaptive=adaptive)
    assert table.count.tolist() == [10]
    assert table.error == pytest.approx(0.2)


@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_a_confidence_at_the_end_is_in_a_bin(edge):
    assert make_reliability_table(np.array([edge]), np.array([True])).count.tolist() == [1]


def test_coverage_takes_the_surest_first():
    sure = np.array([0.9, 0.6, 0.9, 0.5])
    thresholds, coverage, accuracy = trace_coverage(sure, np.array([True, False, False, True]))
    assert thresholds.tolist() == [0.9, 0.6, 0.5]
    assert coverage.tolist() == [0.5, 0.75, 1.0]
    assert accuracy.tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 2])


@pytest.mark.parametrize("function", [make_reliability_table, trace_coverage])
def test_no_predictions_are_an_error(function):
    with pytest.raises(DataError, match="no prediction"):
        function(np.zeros(0), np.zeros(0, bool))
