"""One trial: followed, cut short, failed, and its value read from its folder."""

import json

import pytest

from torchloupe.config.schema import Config
from torchloupe.config.settings import Settings
from torchloupe.errors import NumericError, ResourceError, UsageError
from torchloupe.run.events import Evaluation
from torchloupe.studies.sweep import trial_run
from torchloupe.studies.sweep.book import FAILED, PRUNED, Book
from torchloupe.studies.sweep.plan import Plan
from torchloupe.studies.sweep.space import make_space
from torchloupe.studies.sweep.trial_run import (
    OUT_OF_TIME,
    CutShort,
    Follower,
    best_value,
    run_trial,
)

SPACE = make_space({"optimizer.lr": "1e-4..1e-1:log"}, Config())
PLAN = Plan("study", SPACE, 0, "val_accuracy", 5, 0.0, 0, "asha", "")
FOREVER = float("inf")


@pytest.fixture
def book(tmp_path):
    return Book(PLAN, tmp_path)


def evaluation(epoch, value, step=0):
    """An evaluation after so many epochs of ten steps."""
    return Evaluation(step or round(10 * epoch), epoch, 1.0, {"val_accuracy": value}, True)


def follow(book, values, *, ends=FOREVER, trial=None):
    """A follower of a run of three epochs that sees these values."""
    trial = trial or book.begin({"optimizer.lr": 0.01 + len(book.trials()) / 100})
    follower = Follower(book, trial, 1.0, ends)
    follower.start({"total_steps": 30})
    for epoch, value in enumerate(values, start=1):
        follower.record(evaluation(epoch, value))
    return trial


def test_the_best_value_so_far_is_reported(book):
    trial = follow(book, [0.5, 0.4, 0.6])
    assert book.trials()[trial.number].points == {1: 0.5, 2: 0.5, 3: 0.6}


def test_a_worse_trial_is_cut_short_but_not_at_its_end(book):
    follow(book, [0.5, 0.6, 0.7])
    with pytest.raises(CutShort, match="after evaluation 1, as ASHA decided"):
        follow(book, [0.1])
    third = follow(book, [0.8, 0.8, 0.1])  # at the last step there is nothing left to save
    assert book.trials()[third.number].points == {1: 0.8, 2: 0.8, 3: 0.8}


def test_a_resumed_trial_repeats_evaluations_and_its_decision(book):
    follow(book, [0.5, 0.6, 0.7])
    trial = book.begin({"optimizer.lr": 0.5})
    book.report(trial.number, 1, 0.1, {"completed_rung_0": 0.1})  # killed before it was cut short
    again = book.trials()[trial.number]
    with pytest.raises(CutShort):
        follow(book, [0.1], trial=again)
    before = follow(book, [0.8, 0.85])
    known = book.trials()[before.number]
    follow(book, [0.8], trial=known)
    assert book.trials()[before.number].points == {1: 0.8, 2: 0.85}


def test_when_the_minutes_are_over_a_trial_ends_at_an_evaluation(book):
    with pytest.raises(CutShort, match=OUT_OF_TIME):
        follow(book, [0.9], ends=0.0)


def test_other_events_and_evaluations_before_the_first_step(book):
    trial = book.begin({"optimizer.lr": 0.01})
    follower = Follower(book, trial, 1.0, FOREVER)
    follower.start({"total_steps": 30})
    follower.record({"train_loss": 1.0, "step": 3})
    follower.record(evaluation(0.0, 0.3))
    follower.record(evaluation(0.5, float("nan"), step=5))
    assert book.trials()[0].points == {0: 0.3}


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (NumericError("loss is nan", "lower"), PRUNED, "diverged: loss is nan"),
        (UsageError("no such size", "another"), FAILED, "no such size (another)"),
        (ResourceError("one image does not fit into memory", "x"), FAILED, "memory (x)"),
    ],
)
def test_a_trial_that_cannot_be_trained_is_recorded(book, monkeypatch, error, state, reason):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(trial_run, "train_in", fail)
    trial = book.begin({"optimizer.lr": 0.01})
    done = run_trial(book, trial, Settings(), None, [], trust_code=False, ends=FOREVER)
    assert done.state == state
    assert reason in done.reason


def test_a_full_disk_stops_the_sweep_and_the_trial_goes_on_later(book, monkeypatch):
    def fail(*_, **__):
        raise ResourceError("the disk is full", "free some")

    monkeypatch.setattr(trial_run, "train_in", fail)
    trial = book.begin({"optimizer.lr": 0.01})
    with pytest.raises(ResourceError, match="the disk is full"):
        run_trial(book, trial, Settings(), None, [], trust_code=False, ends=FOREVER)
    assert book.trials()[0].is_running


def test_the_best_value_is_that_of_the_events(tmp_path):
    with pytest.raises(UsageError, match="there is none"):
        best_value(tmp_path, "val_accuracy", PLAN.is_better)
    lines = [
        {"step": n, "val_accuracy": v, "best": True} for n, v in ((1, 0.25), (2, 0.75), (3, 0.5))
    ]
    lines.append({"step": 3, "train_loss": 9.0})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "events.jsonl").write_text(text)
    assert best_value(tmp_path, "val_accuracy", PLAN.is_better) == 0.75
