"""The result and its baselines."""

import pytest
from made_predictions import make_predictions

from torchloupe.trained.facts.head import (
    baselines,
    describe_score,
    list_scores,
    list_verdicts,
    spell_command,
)


def test_baselines_are_the_largest_class_of_training_and_chance():
    found = make_predictions([0, 0, 0, 1], [[0.9, 0.1]] * 4, ["cat", "dog"])
    largest, chance = baselines(found, [5, 20])
    assert largest == {"name": "always the largest class (dog)", "value": 0.25}
    assert chance["value"] == 0.5
    several = make_predictions([[1, 0], [1, 0], [0, 1]], [[0.9, 0.1]] * 3)
    assert baselines(several, [2, 1])[0]["value"] == pytest.approx(2 / 3)


def test_test_comes_before_val_and_val_is_explained():
    scores = {"accuracy": 0.5, "accuracy_ci95": [0.4, 0.6], "count": 90}
    assert describe_score({"val": scores}, None, [])["remarks"]
    told = describe_score({"val": scores, "test": {**scores, "accuracy": 0.6}}, None, [])
    assert (told["title"], told["value"], told["remarks"]) == ("test accuracy", 0.6, [])
    assert describe_score({}, None, []) is None


def test_scores_have_their_intervals():
    metrics = {"test": {"accuracy": 0.5, "mcc": 0.25, "mcc_ci95": [0.2, 0.3], "confusion": []}}
    assert list_scores(metrics) == [
        {"name": "accuracy", "value": "50.00\u00a0%", "interval": ""},
        {"name": "Matthews' correlation", "value": "0.2500", "interval": "0.2000 to 0.3000"},
    ]


def test_verdicts_come_once_and_errors_first():
    note = {"verdict": "b", "level": "note", "seen": "x", "remedy": "y", "where": ""}
    error = {**note, "verdict": "a", "level": "error"}
    found = list_verdicts([note, {"step": 1}], {"verdicts": [note, error]})
    assert [verdict["verdict"] for verdict in found] == ["a", "b"]


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["/x/bin/loupe", "train", "my photos"], "loupe train 'my photos'"),
        (["/x/torchloupe/__main__.py", "train", "digits"], "loupe train digits"),
        (["notebook.py"], ""),
        ([], ""),
    ],
)
def test_the_command_can_be_given_again(command, text):
    assert spell_command({"command": command}) == text
