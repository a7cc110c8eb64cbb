"""A watched step: what stops its backward pass is explained."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchloupe.errors import UsageError
from torchloupe.lens.step import trace_step


class Assigned(nn.Module):
    """Writes into a tensor from which it has computed what a gradient needs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        parts = self.fc(images.flatten(1)).exp()
        parts[:, 0] = 1.0
        return parts


class Failing(torch.autograd.Function):
    """A function of one's own whose backward fails."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("no way back")


class Stuck(Assigned):
    def forward(self, images: Tensor) -> Tensor:
        return Failing.apply(self.fc(images.flatten(1)))


def step(model: nn.Module) -> None:
    trace_step(model, torch.randn(2, 1, 2, 2), torch.tensor([0, 1]), F.cross_entropy)


def test_a_tensor_changed_in_place_is_told_with_the_line_that_used_it() -> None:
    model = Assigned()
    with pytest.raises(UsageError) as caught:
        step(model)
    assert f"changed in place after {__file__}, line 20 has used it" in caught.value.message
    assert "stack a list for x[i] = y" in caught.value.hint
    assert model.fc.weight.grad is None
    assert not torch.is_anomaly_enabled()


def test_other_errors_of_a_backward_pass_are_raised() -> None:
    with pytest.raises(RuntimeError, match="no way back"):
        step(Stuck())
