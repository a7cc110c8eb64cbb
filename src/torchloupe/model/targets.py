"""Targets of a loss on logits [B, K]: class numbers [B] or rows [B, K], and class weights."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from torchloupe.errors import DataError, UsageError, printable


def class_weights(
    weights: Sequence[float] | str, counts: Sequence[int] | None, classes: int
) -> Tensor | None:
    """One weight per class [K]; None for equal ones. "balanced" is N / (K * count)."""
    if isinstance(weights, str):
        if weights == "none":
            return None
        if weights != "balanced":
            raise UsageError(
                f"loss.weights is none, balanced or one number per class, got {printable(weights)}",
                "for example --set loss.weights=balanced",
            )
        if counts is None or len(counts) != classes:
            raise UsageError(
                "balanced weights need the number of training images of each class",
                "pass counts=, one per class",
            )
        empty = [str(k) for k, count in enumerate(counts) if count <= 0]
        if empty:
            raise DataError(
                f"balanced weights need an image of every class; class {', '.join(empty)} has none",
                "add images, or drop the class",
            )
        total = sum(int(count) for count in counts)
        return torch.tensor([total / (classes * int(count)) for count in counts])
    weight = torch.tensor([float(value) for value in weights])
    if len(weight) != classes:
        raise UsageError(
            f"loss.weights has {len(weight)} numbers for {classes} classes",
            "give one number per class, in the order of the class names",
        )
    if not bool(torch.isfinite(weight).all()) or bool((weight < 0).any()) or not weight.any():
        raise UsageError(
            f"loss.weights must be 0 or more, and not all 0: {printable(list(weights))}",
            "a class twice as important has twice the weight",
        )
    return weight


def as_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """Class numbers [B] as int64, or rows [B, K] in the type of the logits."""
    if labels.ndim == 2 and labels.shape[1] == 1 != logits.shape[1]:
        labels = labels[:, 0]
    if labels.ndim == 1 and len(labels) == len(logits):
        if labels.is_floating_point():
            if not torch.equal(labels, labels.round()):  # waits for the device; feeds give int64
                raise DataError(
                    f"labels are fractions ({labels.dtype}), a class number is whole",
                    "give class numbers [batch] or rows of shares [batch, classes]",
                )
            return labels.long()
        return labels if labels.dtype == torch.int64 else labels.long()
    if labels.shape == logits.shape:
        return labels.to(logits.dtype)
    raise DataError(
        f"labels are {spell_shape(labels)} for logits {spell_shape(logits)}",
        "give class numbers [batch] or rows of shares [batch, classes]",
    )


def as_rows(
    logits: Tensor, labels: Tensor, *, smoothing: float = 0.0, multi_label: bool = False
) -> Tensor:
    """Rows [B, K]; smoothing moves that much of each row to all classes, or each label to 1/2."""
    labels = as_labels(logits, labels)
    if labels.ndim == 1:
        if multi_label:
            raise DataError(
                f"labels are {spell_shape(labels)}, images with several labels have rows of 0 "
                "and 1",
                "give labels [batch, classes]",
            )
        labels = nn.functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
    if smoothing == 0:
        return labels
    return labels * (1 - smoothing) + smoothing / (2 if multi_label else logits.shape[1])


def spell_shape(tensor: Tensor) -> str:
    """`[32, 10]`."""
    return "[" + ", ".join(str(side) for side in tensor.shape) + "]"
