"""One training step: forward, loss, backward, step.

`train/loop.py` has these lines on its own page; everything else that takes a step (trials of
speed, budgets, probes) calls `take_step`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from torchloupe.hardware.precision import Precision, StepResult

LossFunction = Callable[[Tensor, Tensor], Tensor]


def forward_backward(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    loss: LossFunction,
    precision: Precision,
    weight: float = 1.0,
) -> Tensor:
    """Add the gradients of `weight` times the loss of a batch; returns that loss (0-d, detached).

    `weight` is the fraction of the step's samples that a micro-batch holds.
    """
    with precision.autocast():
        value = loss(model(images), labels)
    if weight != 1:
        value = value * weight
    precision.backward(value)
    return value.detach()


def take_step(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    loss: LossFunction,
    precision: Precision,
    optimizer: torch.optim.Optimizer,
    max_norm: float = 0.0,
) -> StepResult:
    """Train `model` on one batch; gradients are None before and after. See `Precision.step`."""
    value = forward_backward(model, images, labels, loss, precision)
    return precision.step(optimizer, value, max_norm=max_norm)
