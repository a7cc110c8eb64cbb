"""What of torch's own can be named in config.json and made again, and what can't."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, StepLR
from torch.optim.swa_utils import SWALR

from torchloupe.model.import_paths import is_loss_of_torch, name_of, with_tensors
from torchloupe.model.losses import make_loss


class Own(nn.CrossEntropyLoss):
    """A subclass, whose code torch doesn't have."""


def changed():
    loss = nn.CrossEntropyLoss()
    loss.extra = 3
    return loss


def hooked():
    loss = nn.CrossEntropyLoss()
    loss.register_forward_hook(lambda *_: None)
    return loss


@pytest.mark.parametrize(
    ("what", "given", "named"),
    [
        ("loss", nn.CrossEntropyLoss, {"loss.name": "torch.nn:CrossEntropyLoss"}),
        ("loss", nn.CrossEntropyLoss(), {"loss.name": "torch.nn:CrossEntropyLoss"}),
        (
            "loss",
            nn.CrossEntropyLoss(torch.tensor([1.0, 0.1]), label_smoothing=0.2, ignore_index=7),
            {
                "loss.name": "torch.nn:CrossEntropyLoss",
                "loss.options": {
                    "weight": torch.tensor([1.0, 0.1]).tolist(),
                    "ignore_index": 7,
                    "label_smoothing": 0.2,
                },
            },
        ),
        (
            "loss",
            nn.BCEWithLogitsLoss(pos_weight=torch.ones(3)),
            {
                "loss.name": "torch.nn:BCEWithLogitsLoss",
                "loss.options": {"pos_weight": [1.0, 1.0, 1.0]},
            },
        ),
        (
            "loss",
            nn.MultiMarginLoss(p=2, margin=0.5),
            {
                "loss.name": "torch.nn:MultiMarginLoss",
                "loss.options": {"p": 2, "margin": 0.5},
            },
        ),
        ("optimizer", torch.optim.Adam, {"optimizer.name": "torch.optim:Adam"}),
        (
            "optimizer",
            partial(torch.optim.SGD, lr=0.1, momentum=0.9),
            {
                "optimizer.name": "torch.optim:SGD",
                "optimizer.options": {"lr": 0.1, "momentum": 0.9},
            },
        ),
        (
            "schedule",
            partial(StepLR, step_size=3),
            {
                "schedule.name": "torch.optim.lr_scheduler:StepLR",
                "schedule.options": {"step_size": 3},
            },
        ),
        (
            "schedule",
            partial(SWALR, swa_lr=0.1),
            {
                "schedule.name": "torch.optim.swa_utils:SWALR",
                "schedule.options": {"swa_lr": 0.1},
            },
        ),
    ],
)
def test_what_torch_can_make_again_is_named(what, given, named) -> None:
    assert name_of(what, given) == named


@pytest.mark.parametrize(
    ("what", "given"),
    [
        ("loss", Own()),
        ("loss", Own),
        ("loss", changed()),
        ("loss", hooked()),
        ("loss", nn.CrossEntropyLoss(torch.ones(20_000))),
        ("loss", nn.CrossEntropyLoss(torch.ones(3, dtype=torch.float64))),
        ("loss", nn.functional.cross_entropy),
        ("loss", partial(nn.functional.cross_entropy, label_smoothing=0.1)),
        ("loss", nn.Linear(2, 2)),
        ("optimizer", torch.optim.Adam([torch.zeros(1, requires_grad=True)])),
        ("optimizer", lambda parameters: torch.optim.Adam(parameters, 0.1)),
        ("optimizer", partial(torch.optim.SGD, lr=torch.tensor(0.1))),
        ("optimizer", partial(torch.optim.SGD, lr=0.0)),
        ("schedule", partial(LambdaLR, lr_lambda=lambda step: 1.0)),
        ("schedule", lambda optimizer: StepLR(optimizer, 3)),
    ],
)
def test_everything_else_stays_a_python_object(what, given) -> None:
    assert name_of(what, given) is None


def test_a_loss_made_from_its_name_is_the_one_that_was_given() -> None:
    given = nn.CrossEntropyLoss(torch.rand(5), label_smoothing=0.1)
    named = name_of("loss", given)
    again = make_loss(named["loss.name"], classes=5, options=named["loss.options"])
    logits, labels = torch.randn(8, 5), torch.arange(8) % 5
    assert torch.equal(again(logits, labels), given(logits, labels))
    assert is_loss_of_torch(nn.NLLLoss)
    assert not is_loss_of_torch(Own)
    assert with_tensors({"p": [1]}) == {"p": [1]}
