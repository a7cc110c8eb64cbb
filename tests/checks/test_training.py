"""Verdicts on trainings, from the events that they leave."""

from typing import Any

import pytest

from torchloupe.checks.training import (
    TrainingFacts,
    judge_end,
    judge_events,
    judge_rates,
    judge_scores,
)

FACTS = TrainingFacts(class_shares=(0.25,) * 4, val_count=400)


def events(*epochs: tuple[float, float, float]) -> list[dict[str, Any]]:
    """A log line and an evaluation of each epoch: train loss, val loss, val accuracy."""
    found: list[dict[str, Any]] = []
    best = 0.0
    for number, (train_loss, val_loss, accuracy) in enumerate(epochs, start=1):
        place = {"step": 100 * number, "epoch": float(number), "seconds": 1.0}
        found.append({**place, "train_loss": train_loss})
        found.append({**place, "val_loss": val_loss, "val_accuracy": accuracy})
        found[-1]["best"] = accuracy > best
        best = max(best, accuracy)
    return found


SOUND = events((1.2, 1.0, 0.6), (0.7, 0.6, 0.8), (0.4, 0.45, 0.86), (0.3, 0.44, 0.87))


def names(found: list[Any]) -> list[str]:
    return [verdict.verdict for verdict in found]


def test_a_sound_training_has_nothing_to_tell() -> None:
    assert judge_events(SOUND, FACTS) == []
    assert judge_end(SOUND) == []
    for count in range(len(SOUND)):
        assert judge_events(SOUND[:count], FACTS) == []


@pytest.mark.parametrize(
    ("epochs", "name"),
    [
        ([(0.5, 1.9, 0.26), (0.2, 3.0, 0.24)], "validation-at-chance"),
        ([(1.39, 1.39, 0.25), (1.386, 1.387, 0.25)], "loss-at-class-prior"),
        ([(1.0, 0.2, 0.9), (0.99, 0.2, 0.9), (0.98, 0.2, 0.9)], "validation-better-than-training"),
    ],
)
def test_a_training_that_goes_wrong_is_named(epochs: Any, name: str) -> None:
    assert names(judge_events(events(*epochs), FACTS)) == [name]


def test_reasons_keep_it_quiet() -> None:
    better = events((1.0, 0.2, 0.9), (0.99, 0.2, 0.9), (0.98, 0.2, 0.9))
    hardened = TrainingFacts((0.25,) * 4, 400, hardened=True)
    assert judge_events(better, hardened) == []
    assert judge_events(better, TrainingFacts((0.25,) * 4, 20)) == []
    chance = events((0.5, 1.9, 0.26), (0.2, 3.0, 0.24))
    assert judge_events(chance, TrainingFacts()) == []
    assert judge_events(chance, TrainingFacts((0.25,) * 4, 400, plain_loss=False)) == []


def test_steps_that_were_left_out_are_told_with_their_samples() -> None:
    bad = {"step": 7, "loss": "nan", "rows": [4, 9], "bad_step": True}
    (found,) = judge_events([*SOUND, bad], FACTS)
    assert (found.verdict, found.numbers["bad_steps"]) == ("skipped-steps", 1)
    assert "step 7 (sample rows [4, 9])" in found.seen
    overflow = {"step": 5, "scale": 2.0, "overflow": True}
    assert judge_events([*SOUND, overflow], FACTS) == []
    assert names(judge_events([*SOUND, *[overflow] * 60], FACTS)) == ["skipped-steps"]


def test_the_end_is_noted_where_it_comes_too_early_or_too_late() -> None:
    early = events((1.2, 1.0, 0.6), (0.9, 0.8, 0.7), (0.7, 0.6, 0.8), (0.5, 0.4, 0.9))
    assert names(judge_end(early)) == ["still-improving"]
    late = events((1.0, 0.8, 0.7), (0.5, 0.6, 0.8), *[(0.1, 0.6 + k / 5, 0.75) for k in range(6)])
    assert names(judge_end(late)) == ["best-long-past"]
    assert judge_end(early[:4]) == []


def test_one_class_in_all_predictions_is_named() -> None:
    scores = {"confusion": [[0, 20], [0, 30]], "count": 50, "per_class": {"cat": {}, "dog": {}}}
    (found,) = judge_scores(scores, "test")
    assert (found.verdict, found.where) == ("one-class-predicted", "dog")
    assert judge_scores({**scores, "confusion": [[1, 19], [0, 30]]}, "test") == []
    assert judge_scores({**scores, "confusion": [[0, 0], [0, 50]]}, "test") == []
    assert judge_scores({"accuracy": 0.5}, "test") == []


def test_one_class_in_all_predictions_is_a_note_early_and_a_warning_where_it_is_right() -> None:
    scores = {"confusion": [[0, 20], [0, 30]], "count": 50}
    for steps, epochs, level in ((40, 9.0, "note"), (900, 1.0, "note"), (900, 3.0, "error")):
        (found,) = judge_scores(scores, "val", steps, epochs)
        assert found.level == level
    (found,) = judge_scores({"confusion": [[0, 2], [0, 48]], "count": 50}, "val", 900, 9.0)
    assert found.level == "warning"


def test_a_learning_rate_that_was_near_zero_for_most_of_the_steps_is_named() -> None:
    def lines(rates: list[float]) -> list[dict[str, Any]]:
        return [{"step": 10 * k, "train_loss": 1.0, "lr": lr} for k, lr in enumerate(rates, 1)]

    assert names(judge_rates(lines([0.1 * 0.3**k for k in range(12)]))) == ["schedule-ended-early"]
    assert judge_rates(lines([0.1 * 0.7**k for k in range(12)])) == []
    assert judge_rates(lines([0.1 * k for k in range(12)])) == []
