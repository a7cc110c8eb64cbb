"""How sure the metrics of a model are: intervals, calibration and power, for metrics.json."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.evaluation.calibration import (
    brier_of_images,
    describe_calibration,
    nll_of_images,
)
from torchloupe.evaluation.intervals import (
    Interval,
    f1_interval,
    measure_scores,
    precision_interval,
    wilson_interval,
)
from torchloupe.evaluation.power import describe_power
from torchloupe.evaluation.resampling import Answers

OF_PROBABILITIES = ("nll", "brier")


def measure_certainty(
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
    predictions: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    temperature: float,
) -> dict[str, Any]:
    """Every score NAME with its interval NAME_ci95, `calibration`, `power`, and `per_class`.

    `labels` and `predictions` are [N], or [N, K] of 0 and 1; `probabilities` [N, K] are those at
    `temperature`. `per_class` is a list, in the order of the classes.
    """
    values = {
        "nll": nll_of_images(logits, labels, temperature),
        "brier": brier_of_images(probabilities, labels),
    }
    answers = Answers(labels, predictions, probabilities, logits.shape[1], values)
    scores, intervals = measure_scores(answers)
    after = describe_calibration(logits, labels, temperature)
    before = after if temperature == 1.0 else describe_calibration(logits, labels)
    return {
        **_beside(scores, intervals),
        "ece": after["ece"],
        "ece_adaptive": after["ece_adaptive"],
        "calibration": {"temperature": temperature, "before": before, "after": after},
        "power": describe_power(len(labels), scores["accuracy"]),
        "per_class": measure_classes(answers),
    }


def _beside(scores: Mapping[str, float], intervals: Mapping[str, Interval]) -> dict[str, Any]:
    """Each score, then its interval; None for what is not defined or was left out."""
    found: dict[str, Any] = {}
    for name, score in scores.items():
        found[name] = score if math.isfinite(score) else None
        found[f"{name}_ci95"] = list(intervals[name]) if name in intervals else None
    return found


def measure_classes(answers: Answers) -> list[dict[str, list[float] | None]]:
    """The intervals of precision, recall and F1 of each class; None where there is no image."""
    labels, predictions = answers.labels, answers.predictions
    if answers.multi_label:
        parts = (labels * predictions, predictions, labels)
        columns = [part.sum(axis=0).tolist() for part in parts]
        precisions = [_share(hits, found) for hits, found, _ in zip(*columns, strict=True)]
    else:
        groups = (labels[labels == predictions], predictions, labels)
        columns = [np.bincount(part, minlength=answers.classes).tolist() for part in groups]
        variances = _false_variances(answers)
        precisions = [
            _listed(precision_interval(*counts)) for counts in zip(*columns, variances, strict=True)
        ]
    return [
        {
            "precision_ci95": precision,
            "recall_ci95": _share(hits, there),
            "f1_ci95": _listed(f1_interval(hits, found, there)),
        }
        for precision, (hits, found, there) in zip(
            precisions, zip(*columns, strict=True), strict=True
        )
    ]


def _false_variances(answers: Answers) -> list[float]:
    """Of each class, the variance of how many images of other classes are taken for it.

    Of n images of a class, c that are taken for another are binomial: c (1 - c / n).
    """
    wrong = ~answers.right
    pairs = answers.labels[wrong] * answers.classes + answers.predictions[wrong]
    pair, count = np.unique(pairs, return_counts=True)
    label, taken_for = np.divmod(pair, answers.classes)
    there = np.bincount(answers.labels, minlength=answers.classes)[label]
    spread = count * (1 - count / there)
    found: list[float] = np.bincount(taken_for, weights=spread, minlength=answers.classes).tolist()
    return found


def _share(part: int, whole: int) -> list[float] | None:
    return list(wilson_interval(part, whole)) if whole else None


def _listed(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)
