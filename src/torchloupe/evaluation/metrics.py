"""Metrics of a classifier: accuracy with its interval, scores of each class, calibration.

torchmetrics keeps the sums on the model's device; only `result` waits for it.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics.classification import (
    BinaryCalibrationError,
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
    MulticlassStatScores,
    MultilabelAveragePrecision,
    MultilabelExactMatch,
    MultilabelStatScores,
)

from torchloupe.errors import DataError, NumericError, UsageError
from torchloupe.model.targets import as_labels, spell_shape
from torchloupe.units import plural

LARGEST_CONFUSION = 1000  # classes; beyond it the matrix is larger than all else in a run folder
CALIBRATION_BINS = 15


class Scores:
    """All metrics of a model on a set of images: `update` with each batch, then `result`.

    With several labels an image, accuracy is the fraction of images whose labels are all right;
    a label is predicted where its logit is above 0.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        *,
        multi_label: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        self.class_names = tuple(str(name) for name in class_names)
        classes = len(self.class_names)
        if classes < 2 and not multi_label:
            raise UsageError(
                f"scores need two classes or more, got {classes}", "name every class of the data"
            )
        if len(set(self.class_names)) != classes:
            raise UsageError("two classes have the same name", "give each class a name of its own")
        self.multi_label = multi_label
        self.count = 0
        self.odd_images = torch.zeros((), dtype=torch.int64, device=device)
        self._parts = _several(classes) if multi_label else _single(classes)
        for part in self._parts.values():
            part.to(device)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits [B, K]; labels [B], or rows [B, K] whose largest share counts."""
        if logits.ndim != 2 or logits.shape[1] != len(self.class_names):
            raise UsageError(
                f"logits are {spell_shape(logits)}, scores want [batch, {len(self.class_names)}]",
                "the model must give one number per class",
            )
        device = self.odd_images.device
        logits, labels = logits.detach().to(device).float(), labels.detach().to(device)
        labels = as_labels(logits, labels)
        if self.multi_label:
            probabilities, labels = logits.sigmoid(), labels.round().long()
        else:
            probabilities = logits.softmax(dim=1)
            labels = labels.argmax(dim=1) if labels.ndim == 2 else labels
        self.count += len(logits)
        self.odd_images += (~torch.isfinite(logits).all(dim=1)).sum()
        for name, part in self._parts.items():
            if name == "ece" and self.multi_label:
                part.update(probabilities.flatten(), labels.flatten())
            else:
                part.update(logits if name in _FROM_LOGITS else probabilities, labels)

    def result(self) -> dict[str, Any]:
        """All numbers as plain Python, for `metrics.json`; waits for the device.

        Raises DataError when there was no image, NumericError where logits were not finite.
        """
        if not self.count:
            raise DataError("there is nothing to score: no images", "give more images")
        odd = int(self.odd_images)
        if odd:
            raise NumericError(
                f"the model gave NaN or infinity for {odd:,} of {plural(self.count, 'image')}",
                "its weights or statistics are damaged: take an earlier checkpoint, or train with "
                "a lower learning rate",
            )
        with warnings.catch_warnings():  # torchmetrics warns of classes without an image
            warnings.simplefilter("ignore")
            parts = {name: part.compute() for name, part in self._parts.items()}
        hits, false_hits, _, misses, supports = parts.pop("stats").long().T.tolist()
        correct = round(float(parts.pop("exact")) * self.count) if self.multi_label else sum(hits)
        per_class = {
            name: _per_class(*numbers)
            for name, *numbers in zip(
                self.class_names, hits, false_hits, misses, supports, strict=True
            )
        }
        seen = [
            numbers["f1"]
            for numbers, *found in zip(per_class.values(), hits, false_hits, misses, strict=True)
            if any(found)
        ]
        scores: dict[str, Any] = {
            "accuracy": correct / self.count,
            "accuracy_ci95": list(wilson_interval(correct, self.count)),
        }
        if "top5" in parts:
            scores["top5_accuracy"] = float(parts["top5"])
        if "average_precision" in parts:
            values = parts["average_precision"].tolist()
            known = [value for value, there in zip(values, supports, strict=True) if there]
            scores["mean_average_precision"] = sum(known) / len(known) if known else None
        confusion = parts.get("confusion")
        return scores | {
            "macro_f1": sum(seen) / len(seen) if seen else 0.0,
            "ece": float(parts["ece"]),
            "count": self.count,
            "per_class": per_class,
            "confusion": None if confusion is None else confusion.tolist(),
        }


_FROM_LOGITS = ("stats", "confusion", "top5")  # softmax may round two logits to one number


# Whoever has several ranks brings together what they saw: torchmetrics would, unasked.
_LOCAL: dict[str, Any] = {"validate_args": False, "sync_on_compute": False}


def _single(classes: int) -> dict[str, Any]:
    parts = {
        "stats": MulticlassStatScores(classes, average=None, **_LOCAL),
        "ece": MulticlassCalibrationError(classes, n_bins=CALIBRATION_BINS, **_LOCAL),
    }
    if classes > 5:
        parts["top5"] = MulticlassAccuracy(classes, top_k=5, average="micro", **_LOCAL)
    if classes <= LARGEST_CONFUSION:
        parts["confusion"] = MulticlassConfusionMatrix(classes, **_LOCAL)
    return parts


def _several(classes: int) -> dict[str, Any]:
    return {
        "stats": MultilabelStatScores(classes, average=None, **_LOCAL),
        "exact": MultilabelExactMatch(classes, **_LOCAL),
        "average_precision": MultilabelAveragePrecision(classes, average=None, **_LOCAL),
        "ece": BinaryCalibrationError(n_bins=CALIBRATION_BINS, **_LOCAL),
    }


def _per_class(hits: int, false_hits: int, misses: int, support: int) -> dict[str, float | int]:
    """Precision, recall and F1; 0 where the denominator is 0."""
    found, wanted = hits + false_hits, hits + misses
    return {
        "precision": hits / found if found else 0.0,
        "recall": hits / wanted if wanted else 0.0,
        "f1": 2 * hits / (found + wanted) if found + wanted else 0.0,
        "count": support,
    }


def wilson_interval(
    successes: int, count: int, z: float = 1.959963984540054
) -> tuple[float, float]:
    """The 95 % confidence interval of a proportion (`z` standard deviations).

    Wilson 1927, "Probable inference, the law of succession, and statistical inference": with
    p = successes / count, (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n).
    """
    if not 0 <= successes <= count or not count:
        raise DataError(f"there is no share of {successes} in {count}", "count at least one image")
    share, square = successes / count, z * z / count
    centre = share + square / 2
    spread = z * math.sqrt(share * (1 - share) / count + square / (4 * count))
    low, high = (centre - spread) / (1 + square), (centre + spread) / (1 + square)
    return (0.0 if successes == 0 else low), (1.0 if successes == count else high)
