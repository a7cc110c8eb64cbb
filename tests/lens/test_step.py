"""A watched step: what stops its backward pass is explained."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchloupe.errors import UsageError
from torchloupe.lens.step import last_function, trace_step


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


class Asking(nn.Module):
    """Asks for the gradient of its input, or of features that a frozen layer makes of it."""

    def __init__(self, of: str) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 3)
        self.of, self.weight = of, torch.randn(3, requires_grad=True)

    def forward(self, images: Tensor) -> Tensor:
        if self.of == "images":
            images.requires_grad_()
        features = self.first((images * 1).flatten(1) if self.of == "images" else images.flatten(1))
        if self.of == "features":
            features.requires_grad_()
        if self.of == "copies":
            features = self.first(images.detach().clone().requires_grad_().flatten(1))
        outputs = self.last(features)
        if self.of == "attribute":
            outputs = outputs + self.weight
        if self.of == "drawn":  # as many rows as images, but not made of them
            outputs = outputs + torch.randn(2, 3, requires_grad=True)
        return outputs


@pytest.mark.parametrize(
    ("of", "count"), [("images", 0), ("features", 0), ("copies", 0), ("attribute", 1), ("drawn", 1)]
)
def test_leaves_that_are_made_of_the_images_are_no_hidden_parameters(of, count) -> None:
    model, images = Asking(of), torch.randn(2, 1, 2, 2)
    trace = trace_step(model, images, torch.tensor([0, 1]), F.cross_entropy)
    assert len(trace.strangers) == count
    assert not images.requires_grad


def test_the_last_operation_is_told_behind_a_padding_and_a_view() -> None:
    logit = nn.Linear(4, 1)(torch.randn(2, 4))
    assert last_function(F.pad(logit, (1, 0))) == "ConstantPadNd Addmm"
    assert last_function(F.pad(logit.sigmoid().view(2, 1), (1, 0))) == "ConstantPadNd Sigmoid"
    assert last_function(logit.squeeze(1)) == "Addmm"
