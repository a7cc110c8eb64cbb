"""Accuracy over distinct images: each picture counts once, however often a split holds it."""

from typing import Any

import numpy as np

from torchloupe.evaluation.intervals import wilson_interval
from torchloupe.evaluation.scoring import Outputs
from torchloupe.system.counter_rng import Keys


def score_distinct(outputs: Outputs, content: Keys | None) -> dict[str, Any]:
    """`distinct_accuracy`, its interval and count, where copies move the accuracy.

    `content` [N] are hashes of all images of the source, at the rows of `outputs`; None where
    images have none. Images of equal content and label count once. Empty where the accuracy over
    distinct images lies inside the 95 % interval of the accuracy over all.
    """
    if content is None:
        return {}
    labels, right = outputs.labels, outputs.predictions == outputs.labels
    right = right.all(axis=1) if outputs.multi_label else right
    label = np.unique(labels.reshape(len(labels), -1), axis=0, return_inverse=True)[1]
    alike = np.stack([content[outputs.rows], label.reshape(-1).astype(np.uint64)], axis=1)
    first = np.unique(alike, axis=0, return_index=True)[1]
    correct, count = int(right[first].sum()), len(first)
    low, high = wilson_interval(int(right.sum()), len(right))
    if low <= correct / count <= high:
        return {}
    return {
        "distinct_accuracy": correct / count,
        "distinct_accuracy_ci95": list(wilson_interval(correct, count)),
        "distinct_count": count,
    }
