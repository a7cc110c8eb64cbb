"""Scores of each class, and the matrix."""

import numpy as np
import pytest
from made_predictions import make_predictions
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from torchloupe.trained.facts.classes import (
    MOST_IN_MATRIX,
    confused_pairs,
    count_confusion,
    describe_classes,
    describe_matrix,
)


@pytest.mark.parametrize("seed", range(5))
def test_scores_and_matrix_are_those_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    labels, p = random.integers(0, 5, 80), random.dirichlet(np.ones(5), 80)
    found = make_predictions(labels, p)
    rows = describe_classes(found)
    theirs = precision_recall_fscore_support(labels, p.argmax(1), labels=range(5), zero_division=0)
    for key, values in zip(("precision", "recall", "f1"), theirs, strict=False):
        assert [row[key]["value"] or 0 for row in rows] == pytest.approx(list(values))
    for row in rows:
        for key in ("precision", "recall", "f1"):
            score = row[key]
            if score["value"] is not None:
                assert score["low"] <= score["value"] <= score["high"]
    assert count_confusion(found).tolist() == confusion_matrix(labels, p.argmax(1)).tolist()
    assert sum(row["missed"] for row in rows) == (labels != p.argmax(1)).sum()


def test_several_labels_have_scores_and_no_matrix():
    found = make_predictions([[1, 0], [1, 1]], [[0.9, 0.6], [0.8, 0.2]])
    rows = describe_classes(found)
    assert [(row["count"], row["missed"], row["extra"]) for row in rows] == [(2, 0, 0), (1, 1, 1)]
    assert count_confusion(found) is None


def test_of_many_classes_the_most_confused_are_shown():
    confusion = np.eye(500, dtype=np.int64) * 5
    confusion[17, 400], confusion[3, 4] = 9, 2
    names = tuple(map(str, range(500)))
    matrix = describe_matrix(confusion, names)
    assert matrix["names"] == ["3", "4", "17", "400"]
    assert matrix["left_out"] == 496
    assert matrix["rows"][2]["cells"][3]["count"] == 9
    first, second = confused_pairs(confusion, names)
    assert (first["name"], first["other"], first["count"]) == ("17", "400", 9)
    assert second["share"] == pytest.approx(2 / 7)
    random = np.random.default_rng(0).integers(0, 4, (500, 500))
    assert len(describe_matrix(random, names)["names"]) <= MOST_IN_MATRIX
