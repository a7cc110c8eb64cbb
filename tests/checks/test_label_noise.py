"""Flipped labels are ranked first; of sound ones none is counted."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_predict

from torchloupe.checks.label_noise import (
    Labels,
    Unfitted,
    count_contradictions,
    count_wrong,
    judge_suspects,
    rank_by_probabilities,
)


@pytest.fixture(scope="module")
def flipped() -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Out-of-fold probabilities of digits, their labels, and which 5 % of them are wrong."""
    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(labels))[: len(labels) // 20]
    labels[rows] = (labels[rows] + rng.integers(1, 10, len(rows))) % 10
    is_wrong = np.zeros(len(labels), dtype=bool)
    is_wrong[rows] = True
    model = LogisticRegression(max_iter=100, tol=1e-2)
    shares = cross_val_predict(model, images / 16, labels, cv=3, method="predict_proba")
    return shares, labels, is_wrong


def test_wrong_labels_are_ranked_before_the_others(
    flipped: tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]],
) -> None:
    shares, labels, is_wrong = flipped
    suspects = rank_by_probabilities(shares, labels)
    ranked = average_precision_score(is_wrong, suspects.scores)
    by_own_share = average_precision_score(is_wrong, -shares[np.arange(len(labels)), labels])
    assert ranked > max(0.9, by_own_share)
    assert is_wrong[suspects.order[:40]].mean() > 0.95
    assert is_wrong.sum() * 0.7 < suspects.count < is_wrong.sum() * 2


def test_sure_and_right_predictions_count_no_label() -> None:
    labels = np.arange(60) % 3
    shares = np.full((60, 3), 0.1)
    shares[np.arange(60), labels] = 0.8
    suspects = rank_by_probabilities(shares, labels)
    assert count_wrong(shares, labels) == suspects.count == 0


def test_the_proposed_class_is_the_likeliest_other_one() -> None:
    shares = np.array([[0.7, 0.2, 0.1], [0.05, 0.15, 0.8]])
    suspects = rank_by_probabilities(shares, np.array([0, 0]))
    assert suspects.proposed.tolist() == [1, 2]
    assert suspects.order.tolist() == [1, 0]
    assert suspects.scores[1] > suspects.scores[0]


def probabilities(answers: Labels, classes: int = 10) -> NDArray[np.float64]:
    """Sure of these answers."""
    found = np.full((len(answers), classes), 0.02)
    found[np.arange(len(answers)), answers] = 1 - 0.02 * (classes - 1)
    return found


def judged(labels: Labels, answers: Labels, trained: int, fit: float = 1.0) -> list[str]:
    """The levels of what is said, with so many of 1,000 training labels."""
    counted = count_contradictions(probabilities(answers), labels)
    found = judge_suspects(counted, "test", [], Unfitted(trained, 1000, fit))
    return [verdict.level for verdict in found]


def test_labels_that_are_wrong_at_random_are_a_warning_and_confusions_a_note() -> None:
    draw = np.random.default_rng(0)
    right = np.arange(400) % 10
    is_wrong = draw.random(400) < 0.05
    at_random = np.where(is_wrong, (right + draw.integers(1, 10, 400)) % 10, right)
    confused = np.where(is_wrong & (right < 2), 1 - right, np.where(is_wrong, right, right))
    confused[:20:10], confused[1:200:10] = 1, 0
    assert judged(at_random, right, 40) == ["warning"]
    assert judged(at_random, right, 5) == []
    assert judged(at_random, right, 40, fit=0.8) == ["note"]
    assert judged(confused, right, 40) == ["note"]
    assert judged(right, right, 40) == []


def test_a_model_that_knows_little_accuses_nobody() -> None:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 10, 400)
    assert judged(labels, draw.integers(0, 10, 400), 400) == []
