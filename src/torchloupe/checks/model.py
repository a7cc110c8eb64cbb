"""What a trial of a model shows: a wrong last layer, and weights that are not trained.

Pure functions from evidence to findings. Each finding is one line for people: what was seen, and
what to do about it. Nothing here runs a model.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torchloupe.errors import printable
from torchloupe.units import plural

SHOWN = 3  # names in a line
ENOUGH = 20  # with this many values, all in 0..1, they are hardly raw logits
NEAR_ONE = 1e-3  # tolerance for the sum of a row of probabilities

# What torch's losses, as classes and as functions, take from a model.
_TAKES: dict[str, tuple[tuple[type[nn.Module], ...], tuple[object, ...]]] = {
    "logits": ((nn.CrossEntropyLoss, nn.MultiMarginLoss), (F.cross_entropy, F.multi_margin_loss)),
    "log_probabilities": ((nn.NLLLoss,), (F.nll_loss,)),
    "binary_logits": (
        (nn.BCEWithLogitsLoss, nn.MultiLabelSoftMarginLoss),
        (F.binary_cross_entropy_with_logits, F.multilabel_soft_margin_loss),
    ),
    "probabilities": ((nn.BCELoss,), (F.binary_cross_entropy,)),
}
_NAMED = {"cross_entropy": "logits", "focal": "logits", "nll": "log_probabilities"}


def input_of(name: str, criterion: object, multi_label: bool = False) -> str:
    """What a loss takes: "logits", "log_probabilities", "binary_logits" or "probabilities"; empty
    where that is unknown.

    `name` is that of a loss of this package, `criterion` torch's class or function behind it.
    """
    if name == "binary" or (name == "focal" and multi_label):
        return "binary_logits"
    if name in _NAMED:
        return _NAMED[name]
    criterion = getattr(criterion, "func", criterion)  # functools.partial
    for kind, (classes, functions) in _TAKES.items():
        if isinstance(criterion, classes) or any(criterion is each for each in functions):
            return kind
    return ""


def find_output_mistake(takes: str, outputs: Tensor, function: str) -> str:
    """A one-line finding if `outputs` [B, K] don't fit the loss (see `input_of`); else empty.

    `function` is the last operation of the forward, as autograd names it: Softmax, Sigmoid, ...
    """
    outputs = outputs.detach().float()
    are_shares = bool((outputs >= 0).all()) and _are_one(outputs.sum(dim=1))
    is_softmax = function == "Softmax" or (are_shares and outputs.shape[1] > 1)
    are_log_shares = bool((outputs <= 0).all()) and _are_one(outputs.exp().sum(dim=1))
    within = bool(((outputs >= 0) & (outputs <= 1)).all())
    is_sigmoid = function == "Sigmoid" or (
        within and not is_softmax and outputs.numel() >= ENOUGH and function != "Relu"
    )
    if takes == "logits" and is_softmax:
        return (
            "the model ends in softmax, and the loss applies softmax again, which learns slowly: "
            "return what goes into the softmax"
        )
    if takes == "logits" and function == "Sigmoid":
        return (
            "the model ends in a sigmoid, and the loss applies softmax to numbers from 0 to 1, "
            "which learns slowly: return what goes into the sigmoid"
        )
    if takes == "binary_logits" and (is_sigmoid or is_softmax):
        return (
            f"the model ends in {'softmax' if is_softmax else 'a sigmoid'}, and the loss applies "
            "a sigmoid again, which learns slowly: return what goes into it"
        )
    if takes == "log_probabilities" and not are_log_shares:
        if is_softmax:
            return (
                "the loss is the negative log-likelihood and takes log-probabilities, and the "
                "model ends in softmax: end it with log_softmax(dim=1)"
            )
        return (
            "the loss is the negative log-likelihood and takes log-probabilities, and the model "
            "gives others, so that the loss can fall below 0 without limit: end it with "
            "log_softmax(dim=1), or use cross_entropy"
        )
    return ""


def describe_idle(idle: Sequence[str], total: int) -> str:
    """A one-line finding if trainable parameters got no gradient in a step; else empty."""
    if not idle:
        return ""
    return (
        f"{len(idle)} of {plural(total, 'trainable parameter')} got no gradient in a trial step "
        f"and would stay as they are: {list_names(idle)} (forward doesn't use them, or detaches "
        "what they give)"
    )


def list_names(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    shown = ", ".join(printable(name, 80) for name in names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _are_one(sums: Tensor) -> bool:
    return bool(((sums - 1).abs() < NEAR_ONE).all()) and bool(torch.isfinite(sums).all())
