"""Which settings are repeated with other seeds, and who wins: from folders with known values."""

import json

import pytest

from torchloupe.config.schema import Config
from torchloupe.studies.sweep.book import COMPLETE, PRUNED, Trial
from torchloupe.studies.sweep.plan import Plan
from torchloupe.studies.sweep.repeats import (
    DIVERGED,
    MOST_REPEATED,
    find_winner,
    next_repeats,
    rank,
)
from torchloupe.studies.sweep.space import make_space

SPACE = make_space({"optimizer.lr": "1e-4..1e-1:log"}, Config())


def make_plan(repeat=2, monitor="val_accuracy"):
    """A plan with so many repeats."""
    return Plan("study", SPACE, 7, monitor, 5, 0.0, repeat, "none", "")


def make_trials(*values):
    """Complete trials with these values, and one that was cut short."""
    made = [Trial(k, COMPLETE, {}, {}, value, "", 1.0) for k, value in enumerate(values)]
    return [*made, Trial(len(values), PRUNED, {}, {1: 0.99}, None, "", 1.0)]


def train(run, value):
    """A finished repeat with this value; None: one that diverged."""
    run.folder.mkdir()
    if value is None:
        (run.folder / DIVERGED).write_text(json.dumps({"reason": "nan"}))
        return
    event = {"step": 1, "val_accuracy": value, "val_loss": value, "best": True}
    (run.folder / "events.jsonl").write_text(json.dumps(event) + "\n")
    (run.folder / "metrics.json").write_text("{}")


def go_through(plan, folder, trials, values):
    """Train all repeats there are; `values` of trial N are those of its repeats, in order."""
    order = []
    while runs := next_repeats(plan, folder, trials):
        number = runs[0].trial.number
        order.append(number)
        for run, value in zip(runs, values[number], strict=True):
            train(run, value)
    return order


def test_without_repeats_the_best_trial_wins_and_of_equal_ones_the_first(tmp_path):
    trials = make_trials(0.5, 0.9, 0.9)
    plan = make_plan(repeat=0)
    assert next_repeats(plan, tmp_path, trials) == []
    assert find_winner(plan, tmp_path, trials).trial.number == 1
    assert find_winner(make_plan(0, "val_loss"), tmp_path, trials).trial.number == 0
    assert find_winner(plan, tmp_path, trials[3:]) is None


def test_the_best_is_believed_when_its_mean_beats_the_next(tmp_path):
    plan, trials = make_plan(), make_trials(0.9, 0.7, 0.8)
    first, second = next_repeats(plan, tmp_path, trials)
    assert [run.seed for run in (first, second)] == [8, 9]
    assert first.folder.name == "trial-000-seed-8"
    train(first, 0.85)
    assert next_repeats(plan, tmp_path, trials) == [second]  # as after a kill between the two
    train(second, 0.87)
    assert next_repeats(plan, tmp_path, trials) == []
    winner = find_winner(plan, tmp_path, trials)
    assert (winner.trial.number, winner.values) == (0, (0.85, 0.87))


def test_a_lucky_best_is_not_believed(tmp_path):
    plan, trials = make_plan(), make_trials(0.9, 0.7, 0.8)
    assert go_through(plan, tmp_path, trials, {0: (0.6, 0.7), 2: (0.79, 0.78)}) == [0, 2]
    winner = find_winner(plan, tmp_path, trials)
    assert winner.trial.number == 2
    assert winner.score(plan) == pytest.approx(0.785)
    assert [each.trial.number for each in rank(plan, tmp_path, trials)] == [2, 1, 0]


def test_not_more_than_three_are_repeated(tmp_path):
    plan, trials = make_plan(), make_trials(0.95, 0.94, 0.93, 0.92)
    values = {0: (0.5, 0.5), 1: (0.6, 0.6), 2: (0.4, 0.4)}
    order = go_through(plan, tmp_path, trials, values)
    assert order == [0, 1, 2] and len(order) == MOST_REPEATED
    assert find_winner(plan, tmp_path, trials).trial.number == 1


def test_settings_that_diverge_with_another_seed_lose(tmp_path):
    plan, trials = make_plan(), make_trials(0.9, 0.8)
    assert go_through(plan, tmp_path, trials, {0: (0.95, None), 1: (0.75, 0.75)}) == [0, 1]
    assert find_winner(plan, tmp_path, trials).trial.number == 1
