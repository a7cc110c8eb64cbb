"""AUROC and average precision under weights, against scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics as sk

from torchloupe.evaluation import ranking
from torchloupe.evaluation.ranking import Ranking, grouping


@pytest.mark.parametrize("digits", [None, 2, 1, 0])
def test_weighted_ranks_equal_scikit_learn(digits):
    """20 random cases each, ties included; a weight of k counts an image k times."""
    for seed in range(20):
        random = np.random.default_rng(seed)
        images = int(random.integers(4, 60))
        positive = random.random(images) < 0.4
        positive[:2] = True, False
        scores = random.random(images) + 0.5 * positive
        scores = scores if digits is None else scores.round(digits)
        weights = random.integers(0, 4, (images, 3))
        weights[:2] = 1  # both kinds are in every draw
        auroc, precision = Ranking(scores, positive).measure(weights.astype(np.float32))
        for draw in range(3):
            w = weights[:, draw]
            expected = sk.roc_auc_score(positive, scores, sample_weight=w)
            assert auroc[draw] == pytest.approx(expected, abs=1e-9)
            expected = sk.average_precision_score(positive, scores, sample_weight=w)
            assert precision[draw] == pytest.approx(expected, abs=1e-9)


def test_a_draw_without_one_of_both_kinds_has_no_auroc():
    ranking = Ranking(np.array([0.9, 0.5, 0.1]), np.array([True, False, False]))
    weights = np.array([[0, 1, 1], [1, 0, 1], [1, 0, 1]], np.float32)
    auroc, precision = ranking.measure(weights)
    assert np.isnan(auroc).tolist() == [True, True, False]
    assert np.isnan(precision).tolist() == [True, False, False]
    assert (auroc[2], precision[1], precision[2]) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("positive", "expected"), [(True, 1.0), (False, np.nan)])
def test_images_of_one_kind_have_no_auroc(positive, expected):
    ranking = Ranking(np.array([0.2, 0.8]), np.array([positive, positive]))
    auroc, precision = ranking.measure(np.ones((2, 1), np.float32))
    assert np.isnan(auroc).all()
    assert precision.tolist() == pytest.approx([expected], nan_ok=True)
    assert (ranking.has_positives, ranking.has_negatives) == (positive, not positive)


def test_dense_and_sparse_groupings_give_the_same_sums(monkeypatch):
    random = np.random.default_rng(0)
    groups = random.integers(0, 6, 50)  # 5 is left out
    weights = random.integers(0, 4, (50, 7)).astype(np.float32)
    dense = grouping(groups, 5)
    monkeypatch.setattr(ranking, "DENSE_NUMBERS", 0)
    sparse = grouping(groups, 5)
    assert isinstance(dense, np.ndarray)
    assert not isinstance(sparse, np.ndarray)
    expected = [weights[groups == group].sum(axis=0) for group in range(5)]
    assert np.array_equal(dense @ weights, expected)
    assert np.array_equal(sparse @ weights, expected)
