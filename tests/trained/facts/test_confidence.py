"""Reliability and coverage."""

import numpy as np
import pytest
from made_predictions import make_predictions

from torchloupe.trained.facts.confidence import (
    cover,
    coverage_chart,
    reliability_chart,
    uncalibrated,
)


def softmax(logits):
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def test_calibration_is_undone_exactly():
    logits = np.random.default_rng(0).normal(0, 3, (50, 4))
    found = make_predictions([0] * 50, softmax(logits / 1.7))
    assert uncalibrated(found.probabilities, found, 1.7) == pytest.approx(softmax(logits))
    several = make_predictions([[1, 0, 1, 0]] * 50, 1 / (1 + np.exp(-logits / 1.7)))
    before = uncalibrated(several.probabilities, several, 1.7)
    assert before == pytest.approx(1 / (1 + np.exp(-logits)))


def test_bins_hold_every_answer_once():
    random = np.random.default_rng(0)
    found = make_predictions(random.integers(0, 3, 200), random.dirichlet(np.ones(3), 200))
    chart = reliability_chart(found, 2.0)
    assert [line["name"] for line in chart["series"]] == [
        "before calibration",
        "after calibration",
    ]
    for line in chart["series"]:
        assert sum(int(note.split()[0]) for note in line["notes"]) == 200
        for low, value, high in zip(line["low"], line["y"], line["high"], strict=True):
            assert low <= value <= high


def test_the_surest_images_are_answered_first():
    found = make_predictions([0, 0, 1, 1], [[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.4, 0.6]])
    coverage, accuracy, least = cover(found)
    assert coverage.tolist() == [0.25, 0.5, 1.0]  # equal confidences go together
    assert accuracy.tolist() == [1.0, 1.0, 0.75]
    assert least.tolist() == [0.9, 0.7, 0.6]
    assert coverage_chart(found)["series"][0]["notes"][0] == "confidence 90.0 % or more"
