"""The same training images in training mode and in eval mode: two forwards, nothing changed."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from torchloupe.lens.trace import unchanged
from torchloupe.run.events import Verdict

FEWEST_IMAGES = 16
WORSE = 2.0  # times the loss in training mode
LOST = 0.2  # of the accuracy


def judge_gap(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
) -> list[Verdict]:
    """An error where a trained model is far worse in eval mode on images [B, ...] it trained on.

    `labels` are class numbers [B]. Modes, buffers and random states are as before.
    """
    if labels.ndim != 1 or len(labels) < FEWEST_IMAGES:
        return []
    values, accuracies = [], []
    for training in (True, False):
        with unchanged(model, images.device), torch.no_grad():
            model.train(training)
            outputs = model(images)
            values.append(float(loss(outputs, labels)))
            accuracies.append(float((outputs.argmax(dim=1) == labels).float().mean()))
    if values[1] < WORSE * values[0] + 0.5 or accuracies[1] > accuracies[0] - LOST:
        return []
    norm = any(isinstance(module, _BatchNorm) for module in model.modules())
    return [
        Verdict(
            "train-eval-gap",
            "error",
            seen=f"the same {len(labels)} training images have a loss of {values[0]:.4g} in "
            f"training mode and {values[1]:.4g} in eval mode, and an accuracy of "
            f"{accuracies[0]:.1%} and {accuracies[1]:.1%}",
            remedy="look at BatchNorm: momentum 0.1, larger batches, more steps, or GroupNorm"
            if norm
            else "look for code that asks self.training",
            where="BatchNorm" if norm else "model",
            why="what is evaluated and used is not what was trained",
            numbers={"train_mode_loss": values[0], "eval_mode_loss": values[1]},
        )
    ]
