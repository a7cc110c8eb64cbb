"""What a loss takes and whether it pulls the right way, found by asking it.

The loss is called with made-up outputs; no model runs. It knows no loss by name.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from torchloupe.checks.model import input_of
from torchloupe.checks.subject import Subject
from torchloupe.checks.targets import climbs_a_loss, maximizes
from torchloupe.run.events import Verdict

CLOSE = 1e-4  # relative difference of two losses that are the same
Ask = Callable[[Tensor], float]


@dataclass(frozen=True)
class Pull:
    """The gradient of the loss at the outputs, on average over images."""

    size: float  # the largest number in it
    right: float  # at the right answers
    wrong: float  # at the others
    value: float  # the loss there
    is_swapped: bool  # the images are drawn to each other's labels


def what_it_takes(subject: Subject, outputs: Tensor) -> str:
    """ "logits", "log_probabilities", "binary_logits", "probabilities"; empty: not known.

    `outputs` are those of the model, for their shape. Adding a number to all logits of an image
    changes no softmax; a loss that takes log-probabilities is proportional to them.
    """
    known = input_of(
        subject.loss_name, getattr(subject.loss, "criterion", subject.loss), subject.multi_label
    )
    if known:
        return known
    many = outputs.ndim == 2 and outputs.shape[1] > 1
    noise = torch.randn(outputs.shape, dtype=torch.float32, device=outputs.device)

    def ask(values: Tensor) -> float:
        torch.manual_seed(1)
        with torch.no_grad():
            return float(subject.loss_of(values))

    try:
        found = _takes_logits(subject, ask, noise, many=many)
    except Exception:
        found = "probabilities"
    return _takes_probabilities(ask, noise) if found == "probabilities" else found


def _takes_logits(subject: Subject, ask: Ask, noise: Tensor, *, many: bool) -> str:
    """What a loss takes that takes any numbers; "probabilities" where it gives NaN for them."""
    at_noise, at_zero = ask(noise), ask(0 * noise)
    if math.isnan(at_noise):
        return "probabilities"
    if many and _same(ask(noise + 3.0), at_noise):
        return "logits"
    if many and _same(ask(2 * noise), 2 * at_noise) and _same(at_zero, 0.0):
        return "log_probabilities" if _only_right_counts(subject, noise) else ""
    sure = 30.0 * (2 * truth_of(subject.labels, noise) - 1)
    is_binary = ask(sure) < 0.01 * at_zero and ask(-sure) > at_zero
    return "binary_logits" if is_binary else ""


def _takes_probabilities(ask: Ask, noise: Tensor) -> str:
    try:
        value = ask(noise.softmax(dim=-1) if noise.ndim == 2 else noise.sigmoid())
    except Exception:
        return ""
    return "" if math.isnan(value) else "probabilities"


def _same(one: float, other: float) -> bool:
    return abs(one - other) <= CLOSE * max(abs(one), abs(other), 1e-3)


def _only_right_counts(subject: Subject, noise: Tensor) -> bool:
    pull = pull_of(subject, noise)
    return pull is not None and pull.wrong == 0


def truth_of(labels: Tensor, outputs: Tensor) -> Tensor:
    """1 at the right answers and 0 elsewhere, in the shape of `outputs`."""
    if labels.shape == outputs.shape:
        return (labels > 0.5).float()
    if labels.numel() == outputs.numel():
        return (labels.reshape(outputs.shape) > 0.5).float()
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    rows = torch.nn.functional.one_hot(labels.long().clamp_min(0), outputs.shape[1]).float()
    return rows * (labels >= 0)[:, None]  # a label below 0 says that there is none


def pull_of(subject: Subject, outputs: Tensor) -> Pull | None:
    """The pull at `outputs`; None where the loss gives them no gradient at all."""
    given = outputs.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        value = subject.loss_of(given)
    if not value.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(value, given, allow_unused=True)
    if gradient is None:
        return None
    truth = truth_of(subject.labels, given)
    right = float((gradient * truth).sum() / truth.sum().clamp_min(1))
    wrong = float((gradient * (1 - truth)).sum() / (1 - truth).sum().clamp_min(1))
    largest = float(gradient.abs().max())
    return Pull(largest, right, wrong, float(value.detach()), _is_swapped(gradient, truth))


def _is_swapped(gradient: Tensor, truth: Tensor) -> bool:
    """Whether the classes that a loss draws images to are their labels, most on another image."""
    if gradient.ndim != 2 or gradient.shape[1] < 2 or not bool((truth.sum(dim=1) == 1).all()):
        return False
    drawn, labels = gradient.argmin(dim=1), truth.argmax(dim=1)
    is_same_mix = torch.equal(drawn.bincount(minlength=2), labels.bincount(minlength=2))
    right = float((drawn == labels).float().mean())
    return is_same_mix and right < 0.5 and (right > 0 or gradient.shape[1] > 2)


def judge_loss(subject: Subject, outputs: Tensor) -> list[Verdict]:
    """Verdicts on the loss at `outputs` [B, ...], which a model gave."""
    if outputs.ndim > 2 or len(outputs) != len(subject.labels):
        return []
    try:
        pull = pull_of(subject, outputs)
    except Exception:  # labels of another form, which the loss knows and this doesn't
        return []
    if pull is None or pull.size == 0:
        return [_no_gradient("" if pull is None else ": it is 0 everywhere")]
    ignored = _judge_labels(subject, outputs)
    if ignored or not pull.size < math.inf:
        return ignored
    if maximizes(subject.optimizer):
        return [] if _pulls_away(pull) else [climbs_a_loss()]
    return _judge_pull(pull)


def _no_gradient(more: str) -> Verdict:
    return Verdict(
        "loss-without-gradient",
        "error",
        seen=f"the loss passes no gradient to the model's outputs{more}",
        remedy="compute the loss from the outputs themselves: no argmax, round, .item(), "
        ".detach() or numpy",
        where="loss",
        why="nothing is trained",
    )


def _judge_pull(pull: Pull) -> list[Verdict]:
    if _pulls_away(pull) or pull.is_swapped:
        return [
            Verdict(
                "loss-rewards-wrong-answers",
                "error",
                seen="the loss draws images to the labels of other images of the batch"
                if pull.is_swapped
                else f"raising the output of the right class raises the loss (gradient "
                f"{pull.right:+.2g} there, {pull.wrong:+.2g} elsewhere)",
                remedy="hand over outputs and labels in the same order: shuffle or sort neither "
                "without the other"
                if pull.is_swapped
                else "change its sign: the loss must fall when the right output rises",
                where="loss",
                why="training makes the answers worse",
                numbers={"right": pull.right, "wrong": pull.wrong},
            )
        ]
    if pull.value < 0:
        return [
            Verdict(
                "negative-loss",
                "note",
                seen=f"the loss is {pull.value:.3g}, below 0",
                remedy="nothing where it is meant so; else look for a missing minus or log",
                where="loss",
                why="a loss without a lower bound can fall for ever and say nothing",
                numbers={"loss": pull.value},
            )
        ]
    return []


def _pulls_away(pull: Pull) -> bool:
    """Whether the loss falls when right answers go down and no wrong ones are pushed harder."""
    size = max(abs(pull.right), abs(pull.wrong))
    return pull.right > 0.01 * size and pull.right > pull.wrong


def judge_squashing(subject: Subject, takes: str, outputs: Tensor) -> list[Verdict]:
    """An error where a loss of logits squashes them first: its floor says so.

    Logits that are sure of the right answer then cost what 1 and 0 as logits do.
    """
    if outputs.ndim != 2 or takes not in ("logits", "binary_logits", ""):
        return []
    try:
        truth = truth_of(subject.labels, outputs)
        with torch.no_grad():
            floor, sure = (
                float(subject.loss_of(values)) for values in (90 * (2 * truth - 1), 30 * truth)
            )
    except Exception:
        return []
    if takes == "logits":
        name, bound = "softmax-before-cross-entropy", math.log(1 + (truth.shape[1] - 1) / math.e)
        is_squashed = truth.shape[1] > 1 and _same(floor, bound) and _same(sure, bound)
    else:
        ones = float(truth.mean())
        bound = ones * math.log1p(1 / math.e) + (1 - ones) * math.log(2)
        name, is_squashed = "probabilities-before-binary-loss", _same(floor, bound)
    if not is_squashed:
        return []
    return [
        Verdict(
            name,
            "error",
            seen=f"the loss can't fall below {floor:.3g}, however sure the model is of the right "
            "answer: it squashes the outputs, and torch's loss does so again",
            remedy="give the outputs themselves to cross_entropy or "
            "binary_cross_entropy_with_logits",
            where="loss",
            why="numbers from 0 to 1 as logits give weak gradients and a loss that stays high",
            numbers={"floor": floor},
        )
    ]


def drawn_like(outputs: Tensor) -> Tensor:
    """Random outputs in the form of `outputs`: probabilities, log-probabilities, or any numbers."""
    drawn = torch.randn(outputs.shape, device=outputs.device)
    if bool((outputs >= 0).all() and (outputs <= 1).all()):
        return drawn.softmax(dim=1) if _sums_to_one(outputs) else drawn.sigmoid()
    if outputs.ndim == 2 and _sums_to_one(outputs.exp()):
        return drawn.log_softmax(dim=1)
    return drawn


def _judge_labels(subject: Subject, outputs: Tensor) -> list[Verdict]:
    """An error where other labels give the same loss."""
    spread = drawn_like(outputs)
    labels = subject.labels
    values = []
    for turn in (0, 1, 2, 3):
        torch.manual_seed(1)
        try:
            with torch.no_grad():
                values.append(float(subject.loss_of(spread, labels.roll(turn, 0))))
        except Exception:
            return []
    changes = [bool((labels.roll(turn, 0) != labels).any()) for turn in (1, 2, 3)]
    same = [abs(value - values[0]) <= 1e-6 * max(abs(values[0]), 1e-3) for value in values[1:]]
    if sum(changes) < 2 or not all(same):
        return []
    return [
        Verdict(
            "loss-ignores-labels",
            "error",
            seen=f"the loss is {values[0]:.4g}, and the same when the images get each other's "
            "labels",
            remedy="compare each output with the label of its own image; look for shapes that "
            "broadcast, [B, 1] with [B]",
            where="loss",
            why="nothing can be learned about which image is which",
            numbers={"loss": values[0]},
        )
    ]


def _sums_to_one(outputs: Tensor) -> bool:
    return outputs.ndim == 2 and bool(((outputs.sum(dim=1) - 1).abs() < CLOSE).all())
