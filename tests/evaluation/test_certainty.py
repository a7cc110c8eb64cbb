"""Intervals, calibration and power, as metrics.json has them."""

import numpy as np
import pytest
from answers import make_answers, make_several

from torchloupe.evaluation.certainty import measure_certainty
from torchloupe.evaluation.intervals import f1_interval, precision_interval, wilson_interval
from torchloupe.evaluation.resampling import Answers


def certainty_of(answers, temperature=1.0):
    p = np.clip(answers.probabilities.astype(np.float64), 1e-6, 1 - 1e-6)
    logits = np.log(p / (1 - p)) if answers.multi_label else np.log(p)
    return measure_certainty(
        logits.astype(np.float32),
        answers.labels,
        answers.predictions,
        answers.probabilities,
        temperature,
    )


@pytest.mark.parametrize("answers", [make_answers((30, 20, 10), 1.0), make_several()])
def test_every_number_lies_in_its_interval(answers):
    found = certainty_of(answers)
    names = [name.removesuffix("_ci95") for name in found if name.endswith("_ci95")]
    assert {"accuracy", "macro_f1", "auroc", "nll", "brier"} <= set(names)
    for name in names:
        low, high = found[f"{name}_ci95"]
        assert low <= found[name] <= high


@pytest.mark.parametrize("several", [False, True])
def test_classes_have_intervals_of_their_counts(several):
    answers = make_several() if several else make_answers((30, 20, 10), 1.0)
    found = certainty_of(answers)["per_class"]
    assert len(found) == answers.classes
    for k, intervals in enumerate(found):
        truth = answers.labels[:, k] == 1 if several else answers.labels == k
        said = answers.predictions[:, k] == 1 if several else answers.predictions == k
        hits, there, claimed = (truth & said).sum(), truth.sum(), said.sum()
        assert intervals["recall_ci95"] == pytest.approx(wilson_interval(hits, there))
        low, high = intervals["precision_ci95"]
        assert low < hits / claimed < high
        if several:
            assert (low, high) == pytest.approx(wilson_interval(hits, claimed))
        assert intervals["f1_ci95"] == pytest.approx(f1_interval(hits, claimed, there))


def test_precision_varies_with_the_false_alarms_of_each_class():
    """Counted by hand: 5 of 30 and 4 of 20 images are taken for the third class."""
    labels = np.repeat([0, 1, 2], [30, 20, 10])
    predictions = labels.copy()
    predictions[:5] = predictions[30:34] = 2
    p = np.eye(3, dtype=np.float32)[predictions]
    found = certainty_of(Answers(labels, predictions, p, 3))["per_class"]
    variance = 5 * (1 - 5 / 30) + 4 * (1 - 4 / 20)
    assert found[2]["precision_ci95"] == list(precision_interval(10, 19, 10, variance))
    assert found[0]["precision_ci95"] == list(wilson_interval(25, 25))


def test_a_class_without_images_has_no_interval():
    found = certainty_of(make_answers((30, 20, 0), 30.0))
    assert found["per_class"][2] == {
        "precision_ci95": None,
        "recall_ci95": None,
        "f1_ci95": None,
    }


def test_what_is_not_defined_is_none():
    found = certainty_of(make_answers((5, 0), 30.0))
    assert (found["kappa"], found["kappa_ci95"]) == (None, None)


def test_calibration_says_before_and_after():
    found = certainty_of(make_answers((30, 20, 10), 1.0), temperature=2.0)
    calibration = found["calibration"]
    assert calibration["temperature"] == 2.0
    assert found["ece"] == calibration["after"]["ece"] != calibration["before"]["ece"]
    assert set(calibration["before"]) == {"ece", "ece_adaptive", "nll", "brier"}
