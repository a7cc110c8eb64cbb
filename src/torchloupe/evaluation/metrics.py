"""Metrics of a classifier: accuracy with its interval, scores of each class, calibration.

Sums stay on the model's device; only `result` waits for it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchloupe.errors import DataError, NumericError, UsageError
from torchloupe.evaluation.intervals import wilson_interval
from torchloupe.model.targets import as_labels, spell_shape
from torchloupe.units import plural

LARGEST_CONFUSION = 1000  # classes; with more, the matrix would dominate the run folder
CALIBRATION_BINS = 15
TOP = 5


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
        self.device = torch.device(device)
        self._odd_images = self._zeros()
        self._correct = self._zeros()
        self._in_top = self._zeros()
        self._counts = self._zeros(3, classes)  # of each class: hits, predictions, labels
        has_matrix = not multi_label and classes <= LARGEST_CONFUSION
        self._confusion = self._zeros(classes, classes) if has_matrix else None
        self._calibration = Calibration(self.device)
        self._seen: list[tuple[Tensor, Tensor]] = []  # logits and labels, for average precision

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64, device=self.device)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits [B, K]; labels [B], or rows [B, K] whose largest entry counts."""
        if logits.ndim != 2 or logits.shape[1] != len(self.class_names):
            raise UsageError(
                f"logits are {spell_shape(logits)}, scores want [batch, {len(self.class_names)}]",
                "the model must give one number per class",
            )
        logits, labels = logits.detach().to(self.device).float(), labels.detach().to(self.device)
        labels = as_labels(logits, labels)
        self.count += len(logits)
        self._odd_images += (~torch.isfinite(logits).all(dim=1)).sum()
        if self.multi_label:
            self._add_several(logits, labels.round().long())
        else:
            self._add_single(logits, labels.argmax(dim=1) if labels.ndim == 2 else labels.long())

    def _add_single(self, logits: Tensor, labels: Tensor) -> None:
        classes = len(self.class_names)
        predicted = logits.argmax(dim=1)  # of logits: softmax may round two of them to one number
        right = predicted == labels
        self._correct += right.sum()
        counted = (labels[right], predicted, labels)
        self._counts += torch.stack([torch.bincount(c, minlength=classes) for c in counted])
        if self._confusion is not None:
            pairs = torch.bincount(labels * classes + predicted, minlength=classes**2)
            self._confusion += pairs.view(classes, classes)
        if classes > TOP:
            top = logits.topk(TOP, dim=1).indices
            self._in_top += (top == labels[:, None]).any(dim=1).sum()
        self._calibration.add(logits.softmax(dim=1).amax(dim=1), right)

    def _add_several(self, logits: Tensor, labels: Tensor) -> None:
        predicted = (logits > 0).long()
        self._correct += (predicted == labels).all(dim=1).sum()
        counted = (predicted * labels, predicted, labels)
        self._counts += torch.stack([part.sum(dim=0) for part in counted])
        self._calibration.add(logits.sigmoid().flatten(), labels.flatten())
        self._seen.append((logits.clone(), labels))

    def result(self) -> dict[str, Any]:
        """All numbers as plain Python, for `metrics.json`; waits for the device.

        Raises DataError if there was no image, NumericError if logits were not finite.
        """
        if not self.count:
            raise DataError("there is nothing to score: no images", "give more images")
        odd = int(self._odd_images)
        if odd:
            raise NumericError(
                f"the model gave NaN or infinity for {odd:,} of {plural(self.count, 'image')}",
                "its weights or statistics are damaged: take an earlier checkpoint, or train with "
                "a lower learning rate",
            )
        correct = int(self._correct)
        counts = self._counts.T.tolist()
        per_class = {
            name: _per_class(*numbers)
            for name, numbers in zip(self.class_names, counts, strict=True)
        }
        seen = [per_class[name]["f1"] for name, n in zip(per_class, counts, strict=True) if any(n)]
        scores: dict[str, Any] = {
            "accuracy": correct / self.count,
            "accuracy_ci95": list(wilson_interval(correct, self.count)),
        }
        if self.multi_label:
            scores["mean_average_precision"] = self._mean_average_precision()
        elif len(self.class_names) > TOP:
            scores["top5_accuracy"] = int(self._in_top) / self.count
        return scores | {
            "macro_f1": sum(seen) / len(seen) if seen else 0.0,
            "ece": self._calibration.error(),
            "count": self.count,
            "per_class": per_class,
            "confusion": None if self._confusion is None else self._confusion.tolist(),
        }

    def _mean_average_precision(self) -> float | None:
        """The mean over the classes that have an image; None if none has."""
        logits, labels = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        found = [
            average_precision(logits[:, k], labels[:, k])
            for k in range(labels.shape[1])
            if bool(labels[:, k].any())
        ]
        return sum(found) / len(found) if found else None


class Calibration:
    """Sums of confidence and correctness in equal bins of confidence."""

    def __init__(self, device: torch.device) -> None:
        # float32 sums would lose counts above 2**24 samples
        self._sums = torch.zeros((3, CALIBRATION_BINS), dtype=torch.float64, device=device)

    def add(self, confidences: Tensor, right: Tensor) -> None:
        """Add predictions: their confidences in [0, 1] and whether they were right, both [N]."""
        bins = (confidences * CALIBRATION_BINS).long().clamp_(0, CALIBRATION_BINS - 1)
        rows = (torch.ones_like(confidences), confidences, right)
        for sums, row in zip(self._sums, rows, strict=True):
            sums.index_add_(0, bins, row.double())

    def error(self) -> float:
        """The expected calibration error: Guo et al. 2017, equation 3."""
        counts, confidences, right = self._sums
        return float((right - confidences).abs().sum() / counts.sum())


def average_precision(scores: Tensor, labels: Tensor) -> float:
    """The area under precision over recall, as a sum over the distinct `scores` [N].

    `labels` [N] are 0 or 1, with at least one 1. AP = sum of (R_n - R_(n-1)) P_n, without
    interpolation, as scikit-learn defines it.
    """
    ordered, order = scores.sort(descending=True, stable=True)
    hits = labels[order].double().cumsum(0)
    is_last = torch.ones_like(ordered, dtype=torch.bool)
    is_last[:-1] = ordered[1:] != ordered[:-1]
    places = is_last.nonzero().flatten()
    recall = hits[places] / hits[-1]
    precision = hits[places] / (places + 1)
    return float((recall.diff(prepend=recall.new_zeros(1)) * precision).sum())


def _per_class(hits: int, predictions: int, labels: int) -> dict[str, float | int]:
    """Precision, recall and F1; 0 if the denominator is 0."""
    return {
        "precision": hits / predictions if predictions else 0.0,
        "recall": hits / labels if labels else 0.0,
        "f1": 2 * hits / (predictions + labels) if predictions + labels else 0.0,
        "count": labels,
    }
