"""Suggestions, each from a fact."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_predictions import make_predictions

from torchloupe.config.schema import Config
from torchloupe.config.text import change
from torchloupe.trained.facts.advice import MOST, Known, suggest
from torchloupe.trained.facts.classes import (
    confused_pairs,
    count_confusion,
    describe_classes,
)

QUIET = Known(
    Path("runs/my photos"),
    change(Config(), {"data.source": "photos"}),
    {},
    [],
    [],
    None,
    [],
    [],
    [],
    0,
    0,
)


def evaluations(losses):
    """Events of an evaluation each epoch; the least loss so far is the best."""
    return [
        {"step": k, "epoch": k, "seconds": k, "val_loss": loss, "best": loss <= min(losses[:k])}
        for k, loss in enumerate(losses, 1)
    ]


def titles(known):
    return [row["title"] for row in suggest(known)]


def test_nothing_is_suggested_without_a_fact():
    assert suggest(QUIET) == []


@pytest.mark.parametrize(
    ("losses", "title"),
    [
        ([1.0, 0.8, 0.6, 0.4], "Train longer"),
        ([1.0, 0.5, 0.8, 0.9, 1.2, 1.4], "Stop earlier, or augment more"),
        ([1.0, 0.5, 0.5001, 0.5002], None),
    ],
)
def test_the_curve_decides_whether_to_train_longer(losses, title):
    found = suggest(replace(QUIET, events=evaluations(losses)))
    assert [row["title"] for row in found] == ([title] if title else [])
    if title == "Train longer":
        assert found[0]["command"] == "loupe resume 'runs/my photos' --epochs 8"


def test_a_run_with_patience_is_told_to_train_longer_without_it():
    config = change(QUIET.config, {"train.patience": 3})
    found = suggest(replace(QUIET, config=config, events=evaluations([1.0, 0.8, 0.6, 0.4])))
    assert found[0]["command"].endswith("--epochs 8 --set train.patience=0")


def test_longer_and_earlier_are_not_suggested_together():
    events = evaluations([1.0, 0.5, 2.0, 1.9, 1.8, 1.4])
    events[-1]["best"] = True  # by accuracy
    assert titles(replace(QUIET, events=events)) == ["Stop earlier, or augment more"]


def test_a_weak_class_a_confused_pair_and_a_threshold_are_named():
    labels = np.repeat([0, 1, 2], 40)
    p = np.full((120, 3), 0.005)
    p[np.arange(120), labels] = 0.99
    p[:12] = [0.4, 0.6, 0.0]  # 12 of class a are taken for b, unsurely
    found = make_predictions(labels, p)
    rows, confusion = describe_classes(found), count_confusion(found)
    pairs = confused_pairs(confusion, found.class_names)
    known = replace(QUIET, found=found, classes=rows, pairs=pairs, train_counts=[9, 90, 90])
    told = suggest(known)
    assert [row["title"] for row in told] == [
        "Add images of a",
        "Tell a and b apart better, or merge them",
        "Answer only above a confidence of 0.99",
    ]
    assert "9 training images and a recall of 70.0 %" in told[0]["fact"]


def test_there_are_at_most_five_and_verdicts_come_first():
    verdict = {"level": "error", "remedy": "Mend it", "seen": "Seen", "verdict": "x"}
    metrics = {"test": {"accuracy": 0.5, "accuracy_ci95": [0.3, 0.7], "count": 9}}
    known = replace(
        QUIET,
        verdicts=[verdict],
        suspects=3,
        unreadable=2,
        metrics=metrics,
        events=evaluations([1.0, 0.8, 0.6, 0.4]),
    )
    assert titles(known)[0] == "Mend it"
    assert "Test on more images before you compare models" in titles(known)
    assert len(titles(known)) == MOST


def test_the_command_for_a_verdict_has_the_settings_of_its_remedy():
    remedy = "add images of these classes, or set more aside: --set data.test_fraction=0.3"
    verdict = {"level": "warning", "remedy": remedy, "seen": "Seen", "verdict": "x"}
    (first, *_) = suggest(replace(QUIET, verdicts=[verdict]))
    assert first["command"].endswith(" --set data.test_fraction=0.3")
    assert first["command"].startswith("loupe train ")
