"""How the losses of two parts of a batch make the loss of the whole, found out by asking the loss.

A step in micro-batches, on several ranks, or split as memory ran out adds up the losses of parts.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from torchloupe.errors import UsageError, printable
from torchloupe.hardware.memory import is_out_of_memory
from torchloupe.model.losses import Loss
from torchloupe.model.shares import Adding
from torchloupe.run.own_state import left_alone
from torchloupe.system.seeding import rng_preserved, seed_all
from torchloupe.units import plural

_PARTS = (5, 3)  # images; uneven, so that a sum and a mean of means are told from a mean
_CLOSE = 1e-4
_HINT = (
    "give torch's own, whose weights and ignore_index are known: nn.CrossEntropyLoss(weight=...); "
    "or return the mean over the images of the batch"
)


def settle_adding(loss: Loss, labels: Tensor, micro_batches: int, ranks: int) -> list[str]:
    """Find out how a loss of unknown type adds up; notes on what follows for the run.

    UsageError if a step is to be computed in micro-batches, and they would give another loss.
    """
    if loss.adding == "unknown":
        loss.adding = find_adding(loss, labels)
    if loss.adding == "other" and micro_batches > 1:
        raise UsageError(
            f"train.micro_batches={micro_batches} would train on another loss: that of a batch is "
            f"not the mean of those of its images with {printable(loss.name)}",
            _HINT,
        )
    if loss.adding == "other" and ranks > 1:
        return [
            f"{plural(ranks, 'rank')} each compute {printable(loss.name)} on their part of a "
            "batch, which is not the mean over its images: one process would get another loss"
        ]
    if loss.adding == "unknown" and micro_batches > 1:
        return [
            f"{printable(loss.name)} could not be asked whether it is a mean over images; "
            "micro-batches count as if it were"
        ]
    return []


def find_adding(loss: Loss, labels: Tensor) -> Adding:
    """Whether the loss of a batch is the mean or the sum of those of its images, or another."""
    found: set[Adding] = set()
    for of_logits in (log_softmax, faint, softmax):
        logits, targets = make_example(loss.classes, labels, of_logits)
        try:
            whole, *parts = (
                _value_of(loss, logits[span], targets[span])
                for span in (slice(None), slice(0, _PARTS[0]), slice(_PARTS[0], None))
            )
        except Exception as error:
            if is_out_of_memory(error):
                raise
            continue
        largest = max(abs(whole), *map(abs, parts))
        mean = sum(count * part for count, part in zip(_PARTS, parts, strict=True)) / sum(_PARTS)
        if abs(whole - mean) <= _CLOSE * largest:
            found.add("mean")
        elif abs(whole - sum(parts)) <= _CLOSE * largest:
            found.add("sum")
        elif largest < float("inf"):  # neither NaN nor infinite
            found.add("other")
    if not found:
        return "unknown"
    return found.pop() if len(found) == 1 else "other"


def faint(numbers: Tensor) -> Tensor:
    """Log-probabilities of which some are hardly sure, for losses that leave images out."""
    sure = torch.linspace(1, 0.05, len(numbers), device=numbers.device)[:, None]
    return (numbers * sure).log_softmax(dim=1)


def log_softmax(numbers: Tensor) -> Tensor:
    """Logits that are log-probabilities too, for losses that take these."""
    return numbers.log_softmax(dim=1)


def softmax(numbers: Tensor) -> Tensor:
    """Probabilities, for losses that take no negative numbers."""
    return numbers.softmax(dim=1)


def make_example(
    classes: int, labels: Tensor, of_logits: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Logits and labels like `labels`, whose two parts have other classes."""
    first, second = _PARTS
    draw = torch.Generator().manual_seed(0)
    numbers = [*(place % classes for place in range(first)), *[classes - 1] * second]
    logits = of_logits(2 * torch.randn(first + second, classes, generator=draw))
    targets = torch.tensor(numbers, dtype=labels.dtype if labels.ndim == 1 else torch.int64)
    if labels.ndim == 2:
        targets = nn.functional.one_hot(targets, labels.shape[1]).to(labels.dtype)
    return logits.to(labels.device), targets.to(labels.device)


def _value_of(loss: Loss, logits: Tensor, labels: Tensor) -> float:
    """The loss, as if it were called for the first time."""
    with rng_preserved(), left_alone(nn.Module(), loss), torch.no_grad():
        seed_all(0)
        return float(loss(logits, labels))
