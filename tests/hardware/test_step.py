"""One step is what plain torch does, and a micro-batch counts by its share."""

import torch
from torch import nn

from torchloupe.hardware.precision import Precision
from torchloupe.hardware.step import forward_backward, take_step

IMAGES, LABELS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
LOSS = nn.CrossEntropyLoss()


def make() -> tuple[nn.Linear, torch.optim.Optimizer, Precision]:
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    return (
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        Precision("fp32", torch.device("cpu")),
    )


def test_step_is_bit_equal_to_a_bare_one() -> None:
    model, optimizer, precision = make()
    take_step(model, IMAGES, LABELS, LOSS, precision, optimizer)
    bare, bare_optimizer, _ = make()
    LOSS(bare(IMAGES), LABELS).backward()
    bare_optimizer.step()
    assert torch.equal(model.weight, bare.weight)
    assert model.weight.grad is None


def test_micro_batches_add_up_to_the_batch() -> None:
    model, _, precision = make()
    parts = [
        forward_backward(model, images, labels, LOSS, precision, weight=len(images) / 6)
        for images, labels in zip(IMAGES.split(4), LABELS.split(4), strict=True)
    ]
    whole, _, _ = make()
    value = forward_backward(whole, IMAGES, LABELS, LOSS, precision)
    torch.testing.assert_close(sum(parts), value)
    torch.testing.assert_close(model.weight.grad, whole.weight.grad)
    assert not value.requires_grad


def test_norm_of_gradients_is_limited() -> None:
    model, optimizer, precision = make()
    before = model.weight.detach().clone()
    take_step(model, IMAGES, LABELS, LOSS, precision, optimizer, max_norm=0.01)
    assert 0 < float((model.weight.detach() - before).norm()) <= 0.00101
