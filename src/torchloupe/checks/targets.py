"""Whether a loss and its optimizer want what the labels say: asked with made-up outputs."""

import math

import torch
from torch import Tensor
from torch.optim import Optimizer

from torchloupe.checks.subject import Subject
from torchloupe.run.events import Verdict
from torchloupe.units import plural

SEVERAL = 1.5  # a sum of a row of labels that is no rounded 1
OFTEN = 0.1  # share of the rows
CLOSE = 1e-6


def judge_finite(outputs: Tensor, loss: Tensor | float) -> list[Verdict]:
    """An error where the first loss is no number, before any step was taken."""
    value = float(loss)
    if math.isfinite(value):
        return []
    is_model = not bool(torch.isfinite(outputs).all())
    return [
        Verdict(
            "loss-not-finite",
            "error",
            seen=f"the first loss is {value}, and the model's outputs "
            + ("are not finite either" if is_model else "are finite"),
            remedy="look for a division by 0, or a log or root of 0, in the model"
            if is_model
            else "look for a weight of a class without images, a log of 0 and labels that are NaN",
            where="model" if is_model else "loss",
            why="no step can be taken",
        )
    ]


def judge_targets(subject: Subject, takes: str, outputs: Tensor) -> list[Verdict]:
    """Verdicts where the loss and the labels are of different kinds; see `what_it_takes`."""
    if outputs.ndim != 2 or outputs.shape[1] < 2 or len(outputs) != len(subject.labels):
        return []
    if takes == "logits" and subject.labels.shape == outputs.shape:
        return _judge_several(subject.labels)
    if subject.labels.ndim == 1 and bool((subject.labels != subject.labels[0]).any()):
        return _judge_order(subject, outputs)
    return []


def _judge_several(labels: Tensor) -> list[Verdict]:
    rows = labels.float()
    is_flag = bool(((rows == 0) | (rows == 1)).all())
    several = int((rows.sum(dim=1) > SEVERAL).sum())
    if not is_flag or several < OFTEN * len(rows):
        return []
    return [
        Verdict(
            "softmax-for-several-labels",
            "error",
            seen=f"{several} of {plural(len(rows), 'image')} have more than one label, and the "
            "loss applies a softmax, in which classes exclude each other",
            remedy="use BCEWithLogitsLoss, or binary_cross_entropy_with_logits",
            where="loss",
            why="the more labels an image has, the less sure of each the model may be",
            numbers={"several": several, "images": len(rows)},
        )
    ]


def _judge_order(subject: Subject, outputs: Tensor) -> list[Verdict]:
    """An error where the loss is the same when all images have their outputs in another order."""
    draw = torch.Generator().manual_seed(0)
    drawn = torch.rand(outputs.shape, generator=draw).softmax(dim=1).to(outputs)
    values = []
    try:
        for turn in range(3):
            torch.manual_seed(1)
            with torch.no_grad():
                values.append(float(subject.loss_of(drawn.roll(turn, 1))))
    except Exception:  # outputs of another form, which the loss knows and this doesn't
        return []
    if any(abs(value - values[0]) > CLOSE * max(abs(values[0]), 1e-3) for value in values):
        return []
    return [
        Verdict(
            "outputs-not-told-apart",
            "error",
            seen=f"the loss is {values[0]:.4g} whichever of the {outputs.shape[1]} outputs is the "
            "largest: their order doesn't matter to it",
            remedy="give class numbers to cross_entropy; for another loss make rows of them: "
            "F.one_hot(labels, classes)",
            where="loss",
            why="no output comes to stand for a class; class numbers are names, not amounts",
            numbers={"loss": values[0]},
        )
    ]


def maximizes(optimizer: Optimizer | None) -> bool:
    """Whether the optimizer climbs."""
    groups = [] if optimizer is None else optimizer.param_groups
    return any(bool(group.get("maximize")) for group in groups)


def climbs_a_loss() -> Verdict:
    """What to say of an optimizer that climbs, and a loss that is to fall."""
    return Verdict(
        "optimizer-maximizes",
        "error",
        seen="the optimizer has maximize=True, and the loss is larger for wrong answers",
        remedy="leave maximize out",
        where="optimizer",
        why="training makes the answers worse",
    )
