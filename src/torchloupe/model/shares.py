"""What part of the loss of a step a micro-batch has: how a loss over images is made of its parts.

A mean over images counts each part by its images, a mean that is weighted by class or leaves labels
out by the weights of its labels, and a sum adds up.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

Adding = Literal["mean", "labels", "sum", "other", "unknown"]
_BY_LABELS = (nn.CrossEntropyLoss, nn.NLLLoss)
_TORCH = "torch.nn.modules.loss"
_UNUSED = -100  # torch's default of ignore_index, which no label has


def adding_of(criterion: Any) -> Adding:
    """How losses of parts make the loss of the whole, as far as the type of a criterion tells."""
    criterion = getattr(criterion, "hard", criterion)  # of this package's nll
    kind = type(criterion)
    if kind.__module__ == _TORCH:
        if criterion.reduction == "sum":
            return "sum"
        is_plain = getattr(criterion, "weight", None) is None
        is_plain &= getattr(criterion, "ignore_index", _UNUSED) == _UNUSED
        return "mean" if is_plain or kind not in _BY_LABELS else "labels"
    is_of_torch = getattr(nn.functional, getattr(criterion, "__name__", ""), None) is criterion
    return "mean" if is_of_torch or kind.__module__.startswith("torchloupe.") else "unknown"


def amount_of(loss: Any, labels: Tensor) -> Tensor | None:
    """What `labels` count for in a mean over labels (0-d); None where each image counts alike.

    `loss` may be any; of those that are no `Loss` each image counts alike.
    """
    if getattr(loss, "adding", "") != "labels":
        return None
    criterion = getattr(loss.criterion, "hard", loss.criterion)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:  # rows of shares: torch divides by the number of rows
        return None
    counted: Tensor = labels != criterion.ignore_index
    if criterion.weight is None:
        return counted.sum().to(torch.float32)
    weight: Tensor = criterion.weight.to(labels.device)
    places = torch.where(counted, labels, 0).long()
    return (weight[places] * counted).sum()


def counts_none(loss: Any, labels: Tensor) -> bool:
    """Whether a loss leaves out all of these labels, by its ignore_index: torch's mean is NaN."""
    criterion = getattr(loss, "criterion", loss)
    left_out = getattr(getattr(criterion, "hard", criterion), "ignore_index", None)
    return isinstance(left_out, int) and labels.ndim == 1 and bool((labels == left_out).all())


def weighed(loss: Tensor, weight: float | Tensor) -> Tensor:
    """The part of the step's loss that a micro-batch has; 0 where none of its labels count.

    torch's mean over no labels is NaN.
    """
    if isinstance(weight, Tensor):
        return torch.where(weight > 0, loss * weight, torch.zeros_like(loss))
    return loss if weight == 1 else loss * weight
