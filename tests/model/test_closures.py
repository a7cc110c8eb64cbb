"""Optimizers whose step needs a closure are told from those that fail for another reason."""

import pytest
import torch
from torch import nn

from torchloupe.errors import UsageError
from torchloupe.model.closures import closures_named


class Asserts(torch.optim.SGD):
    def step(self, closure=None):
        assert closure is not None
        return super().step(closure)


class Says(torch.optim.SGD):
    def step(self, closure=None):
        if closure is None:
            raise RuntimeError("this optimizer requires a closure")
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


def made(kind):
    model = nn.Linear(2, 2)
    model(torch.ones(1, 2)).sum().backward()
    return kind(model.parameters(), 0.1)


@pytest.mark.parametrize("kind", [Asserts, Says, Requires, Calls])
def test_optimizers_that_need_a_closure_are_refused_by_their_name(kind) -> None:
    optimizer = made(kind)
    with pytest.raises(UsageError) as caught, closures_named(optimizer):
        optimizer.step()
    assert caught.value.message == (
        f"{kind.__name__} evaluates the loss several times per step through a closure, which a "
        "training step on mini-batches does not have"
    )


def test_other_errors_stay_what_they_are() -> None:
    plain, broken = made(Plain), made(Broken)
    with closures_named(plain):
        plain.step()
    with pytest.raises(ValueError, match="it fails either way"), closures_named(broken):
        broken.step()
    with pytest.raises(TypeError, match="not callable"), closures_named(plain):
        step = None
        step()
    with pytest.raises(UsageError, match="told before"), closures_named(plain):
        raise UsageError("told before", "a closure")
