"""Which images a loss counts: all of them, those of some classes, a sum or a mean over them.

The loss is called with made-up outputs; no model runs.
"""

import torch
from torch import Tensor

from torchloupe.checks.probing import drawn_like
from torchloupe.checks.rules import minds_scale
from torchloupe.checks.subject import Subject
from torchloupe.errors import printable
from torchloupe.run.events import Verdict

DRAWS = 6
FEWEST_IMAGES = 4
TWICE = 1e-3  # relative difference within which a loss of twice the batch is twice as large


def judge_coverage(subject: Subject, outputs: Tensor) -> list[Verdict]:
    """Verdicts on what the loss counts, at made-up outputs in the form of `outputs` [B, ...].

    Call it on a copy, since a loss may have a state.
    """
    if outputs.ndim > 2 or len(outputs) != len(subject.labels) or len(outputs) < FEWEST_IMAGES:
        return []
    try:
        is_counted = _counted(subject, outputs)
        is_sum = all(_doubles(subject, drawn_like(outputs)) for _ in range(2))
    except Exception:  # a loss that takes no other outputs or batches
        return []
    found = [] if is_counted is None else _judge_counted(subject, is_counted)
    return found or (_judge_sum(subject) if is_sum else [])


def _counted(subject: Subject, outputs: Tensor) -> Tensor | None:
    """Which images [B] get a gradient; None where that varies, as with a choice of the hardest."""
    found = []
    for _ in range(DRAWS):
        given = drawn_like(outputs).requires_grad_(True)
        with torch.enable_grad():
            value = subject.loss_of(given)
        (gradient,) = torch.autograd.grad(value, given)
        if not bool(torch.isfinite(gradient).all()):
            return None
        found.append(gradient.reshape(len(gradient), -1).abs().amax(dim=1) > 0)
    return found[0] if all(torch.equal(found[0], other) for other in found[1:]) else None


def _judge_counted(subject: Subject, is_counted: Tensor) -> list[Verdict]:
    left_out = int((~is_counted).sum())
    if not left_out or not bool(is_counted.any()):
        return []
    labels = subject.labels
    if labels.ndim == 1:
        missing = set(labels[~is_counted].tolist()) - set(labels[is_counted].tolist())
        known = sorted(label for label in missing if label >= 0)
        if missing and set(labels[~is_counted].tolist()) == missing:
            return [_class_without_loss(known, left_out)] if known else []
    return [
        Verdict(
            "loss-of-few-images",
            "error",
            seen=f"{left_out} of {len(labels)} images never count in the loss: whatever their "
            "outputs are, they get no gradient",
            remedy="average over the whole batch: no [0], no slice, no mask that leaves images out",
            where="loss",
            why="the images that are left out are read and never learned from",
            numbers={"left_out": left_out, "images": len(labels)},
        )
    ]


def _class_without_loss(classes: list[int], images: int) -> Verdict:
    shown = printable(", ".join(map(str, classes[:5])), 80)
    return Verdict(
        "class-without-loss",
        "warning",
        seen=f"no image of class {shown} counts in the loss ({images} images)",
        remedy="look at ignore_index (-100 ignores none), and for a class weight of 0",
        where=f"class {shown}",
        why="the model never learns this class, and predicts others for its images",
        numbers={"classes": len(classes)},
    )


def _doubles(subject: Subject, outputs: Tensor) -> bool:
    """Whether the loss of each image twice is twice the loss."""
    values = []
    for times in (1, 2):
        labels = torch.cat([subject.labels] * times)
        torch.manual_seed(1)
        with torch.no_grad():
            value = subject.loss(torch.cat([outputs] * times), labels)
        if value.ndim:
            return False
        values.append(float(value))
    return abs(values[0]) > TWICE and abs(values[1] - 2 * values[0]) < TWICE * abs(values[0])


def _judge_sum(subject: Subject) -> list[Verdict]:
    minds = subject.optimizer is None or minds_scale(subject.optimizer)
    return [
        Verdict(
            "loss-summed",
            "warning" if minds else "note",
            seen="the loss is a sum over the images of a batch: twice the images, twice the loss",
            remedy="take the mean: reduction='mean', or .mean() at its end",
            where="loss",
            why="the gradient grows with the batch, so that the learning rate means another one "
            "with each batch size, in the last batch of an epoch too"
            if minds
            else "losses of batches of other sizes can't be compared, and clipping acts on the sum",
        )
    ]
