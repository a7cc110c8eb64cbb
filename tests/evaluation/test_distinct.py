"""Accuracy over distinct images, beside the accuracy over all where copies move it."""

import json

import numpy as np
import pytest
from PIL import Image

import torchloupe as loupe
from torchloupe.cli.text import describe_scores
from torchloupe.evaluation.distinct import score_distinct
from torchloupe.evaluation.intervals import wilson_interval
from torchloupe.evaluation.scoring import Outputs


def outputs_of(right, labels=None):
    """Predictions of two classes, right or wrong; the rows are in reverse order."""
    right = np.array(right)
    labels = np.zeros(len(right), dtype=np.int64) if labels is None else np.array(labels)
    first = np.where(right, labels == 0, labels != 0).astype(np.float32)
    rows = np.arange(len(right))[::-1]
    return Outputs(rows, np.stack([first, 1 - first], axis=1), labels)


def test_copies_count_once_where_they_move_the_accuracy():
    # ten images that are right once each, one that is wrong ten times
    content = np.array([*[7] * 10, *range(100, 110)], dtype=np.uint64)
    found = score_distinct(outputs_of([True] * 10 + [False] * 10), content)
    assert found["distinct_accuracy"] == pytest.approx(10 / 11)
    assert found["distinct_count"] == 11
    assert found["distinct_accuracy_ci95"] == list(wilson_interval(10, 11))


def test_copies_within_the_interval_are_not_told():
    content = np.arange(20, dtype=np.uint64)
    content[1] = content[0]
    assert score_distinct(outputs_of([True] * 10 + [False] * 10), content) == {}
    assert score_distinct(outputs_of([True] * 20), None) == {}


def test_copies_with_another_label_are_other_images():
    content = np.zeros(40, dtype=np.uint64)
    found = score_distinct(outputs_of([True] * 36 + [False] * 4, [0] * 36 + [1] * 4), content)
    assert (found["distinct_accuracy"], found["distinct_count"]) == (0.5, 2)


def test_several_labels_an_image():
    labels = np.array([[1, 1]] * 12 + [[0, 1], [1, 0], [0, 0]])
    found = Outputs(np.arange(15), np.ones((15, 2), np.float32), labels)
    content = np.array([1] * 12 + [2, 3, 4], dtype=np.uint64)
    assert score_distinct(found, content)["distinct_accuracy"] == 0.25


def test_a_run_writes_and_prints_both_accuracies(tmp_path):
    noise = np.random.default_rng(0)
    once = noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    for split, count in (("train", 12), ("test", 9)):
        for number in range(count):
            for label in ("cat", "dog"):
                file = tmp_path / "photos" / split / label / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                is_copy = split == "test" and label == "dog"
                pixels = once if is_copy else noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(file)
    run = loupe.fit(tmp_path / "photos", model="net", epochs=1, lr=0.0, out=tmp_path / "run")
    test = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    # An untrained net gives all images one class: dogs, of which there is one, or cats.
    assert (test["accuracy"], test["distinct_count"]) == (0.5, 10)
    assert test["distinct_accuracy"] in (0.1, 0.9)
    share = f"{100 * test['distinct_accuracy']:.2f} %"
    assert f"distinct images {share}" in describe_scores(test, "test").plain
    assert run.evaluate()["distinct_accuracy"] == test["distinct_accuracy"]
