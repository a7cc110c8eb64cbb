"""A loss of one's own on one logit an image gets labels in the form that it takes."""

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from torchloupe.errors import UsageError
from torchloupe.model.losses import make_loss
from torchloupe.model.outputs import take_logits

IMAGES = torch.randn(6, 3)
LABELS = torch.tensor([0, 1, 1, 0, 1, 0])


def focal(logits, labels):
    each = bce(logits.view(-1), labels.view(-1), reduction="none")
    return ((1 - torch.exp(-each)) ** 2 * each).mean()


def expected(model):
    return bce(model.forward(IMAGES).reshape(-1), LABELS.float())


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize(
    "own",
    [
        lambda i, t: bce(i.view(-1), t.view(-1)),
        lambda i, t: bce(i.view(-1), t.float()),
        bce,
        lambda i, t: bce(i, t.view_as(i)),
        lambda i, t: bce(i.reshape(-1, 1), t.unsqueeze(1)),
        lambda i, t: nn.functional.cross_entropy(torch.stack([0 * i, i], 1).view(-1, 2), t),
    ],
)
def test_losses_on_one_logit_get_labels_as_numbers_or_as_floats(own, flat):
    model = nn.Sequential(nn.Linear(3, 1), *([nn.Flatten(0)] if flat else []))
    wanted = expected(model)
    take_logits(model, 2)
    loss = make_loss(own, classes=2).follow(model)
    for _ in range(2):
        assert torch.isclose(loss(model(IMAGES), LABELS), wanted)
    assert torch.isclose(loss(model(IMAGES), LABELS.double()), wanted)


def test_the_form_is_chosen_once():
    model = take_logits(nn.Linear(3, 1), 2)
    seen = []

    def own(logits, labels):
        seen.append((labels.dtype, tuple(labels.shape)))
        return focal(logits, labels)

    loss = make_loss(own, classes=2).follow(model)
    for _ in range(2):
        loss(model(IMAGES), LABELS)
    assert seen == [(torch.int64, (6,)), (torch.float32, (6,)), (torch.float32, (6,))]


def test_a_loss_that_fails_on_every_form_is_told_by_the_first_error():
    model = take_logits(nn.Linear(3, 1), 2)

    def own(logits, labels):
        raise ValueError(f"not for {labels.dtype}")

    with pytest.raises(UsageError, match=r"not for torch.int64"):
        make_loss(own, classes=2).follow(model)(model(IMAGES), LABELS)
