"""Optimizers that evaluate the loss themselves, through a closure: found before training.

LBFGS does, SAM does, and others that are written after them. A step on mini-batches has none.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchloupe.errors import UsageError, printable


def refuse_closure(make: Callable[..., Any]) -> None:
    """UsageError if the step of the optimizer that `make` gives for parameters needs a closure.

    It takes a step on two numbers of its own, without a closure and then with one. Those of torch
    are known.
    """
    try:
        plain = make([_number()])
        if type(plain).__module__.startswith("torch."):
            return
        with_closure = make([_number()])
    except Exception:  # it wants other parameters than these, and is not tried
        return
    if not isinstance(plain, Optimizer) or _fails(plain) is None:
        return
    if _fails(with_closure, _loss_of(with_closure)) is None:
        raise closure_error(printable(type(plain).__name__))


def closure_error(name: str) -> UsageError:
    """The error for an optimizer that can't do without a closure."""
    return UsageError(
        f"{name} evaluates the loss several times per step through a closure, which a "
        "training step on mini-batches does not have",
        "use adam or sgd, or call it in a loop of your own",
    )


def _number() -> nn.Parameter:
    number = nn.Parameter(torch.ones(2, 2))
    number.grad = torch.ones(2, 2)
    return number


def _loss_of(optimizer: Optimizer) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        with torch.enable_grad():
            optimizer.zero_grad()
            numbers = [p for group in optimizer.param_groups for p in group["params"]]
            loss: Tensor = torch.stack([number.square().sum() for number in numbers]).sum()
            torch.autograd.backward(loss)
        return loss

    return closure


def _fails(optimizer: Optimizer, *closure: Any) -> Exception | None:
    try:
        optimizer.step(*closure)
    except Exception as error:
        return error
    return None
