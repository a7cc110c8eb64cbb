"""Optimizers whose step needs a closure are told from those whose step does not."""

from functools import partial

import pytest
import torch
from torch import nn

from torchloupe.errors import UsageError
from torchloupe.model.closures import refuse_closure
from torchloupe.model.optimizers import make_optimizer


class Asserts(torch.optim.SGD):
    def step(self, closure=None):
        assert closure is not None, "a closure, please"
        return super().step(closure)


class Requires(torch.optim.SGD):
    def step(self, closure):
        return super().step(closure)


class Calls(torch.optim.SGD):
    def step(self, closure=None):
        closure()
        return super().step()


class Plain(torch.optim.SGD):
    """A subclass that needs none."""


class Broken(torch.optim.SGD):
    def step(self, closure=None):
        raise ValueError("it fails either way")


@pytest.mark.parametrize("kind", [Asserts, Requires, Calls])
@pytest.mark.parametrize("form", ["class", "function", "instance"])
def test_optimizers_that_need_a_closure_are_refused_by_their_name(kind, form) -> None:
    model = nn.Linear(2, 2)
    given = {
        "class": kind,
        "function": lambda parameters: kind(parameters, 0.1),
        "instance": kind(model.parameters(), 0.1),
    }[form]
    with pytest.raises(UsageError) as caught:
        make_optimizer(given, model)
    assert caught.value.message == (
        f"{kind.__name__} evaluates the loss several times per step through a closure, which a "
        "training step on mini-batches does not have"
    )


@pytest.mark.parametrize("kind", [Plain, Broken, torch.optim.Adam, torch.optim.LBFGS])
def test_others_are_left_to_themselves(kind) -> None:
    assert refuse_closure(partial(kind, lr=0.1)) is None


def test_a_factory_that_takes_other_parameters_is_not_tried() -> None:
    def make(parameters):
        (weight, bias) = parameters
        return Asserts([weight, bias], 0.1)

    assert refuse_closure(make) is None
