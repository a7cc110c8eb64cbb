"""Flipped labels are ranked first; of sound ones none is counted."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_predict

from torchloupe.checks.label_noise import count_wrong, rank_by_probabilities


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
