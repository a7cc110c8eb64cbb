"""`evaluate` takes what people have: a DataLoader, a list of pairs; and refuses the rest."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import torchloupe as loupe
from torchloupe.errors import UsageError

IMAGES = torch.randn(40, 3, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 5


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 5), nn.Dropout(0.5))


@pytest.mark.parametrize("batch_size", [1, 7, 40])
def test_evaluate_of_a_dataloader_is_that_of_all_its_samples(batch_size: int) -> None:
    model = make_model().train()
    loader = DataLoader(TensorDataset(IMAGES, LABELS), batch_size=batch_size)
    found = loupe.evaluate(model, loader, loss=nn.CrossEntropyLoss())
    assert model.training  # as it was before
    with torch.no_grad():
        logits = model.eval()(IMAGES)
    assert found is not None
    assert found["accuracy"] == float((logits.argmax(1) == LABELS).double().mean())
    assert found["loss"] == pytest.approx(float(nn.CrossEntropyLoss()(logits, LABELS)), rel=1e-5)


def test_evaluate_takes_any_iterable_of_pairs() -> None:
    pairs = [(IMAGES[:8], LABELS[:8]), [IMAGES[8:], LABELS[8:]]]
    assert loupe.evaluate(make_model(), pairs) == loupe.evaluate(
        make_model(), DataLoader(TensorDataset(IMAGES, LABELS), batch_size=16)
    )


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (IMAGES[:4], "a batch is a Tensor; wanted a pair (images, labels)"),
        (
            {"image": IMAGES[:4], "label": LABELS[:4]},
            "a batch is a dict; wanted a pair (images, labels)",
        ),
        ((IMAGES[:4], LABELS[:3]), "a batch has 4 images and 3 labels"),
        (([1, 2], LABELS[:2]), "images and labels of a batch are list and Tensor; wanted tensors"),
    ],
)
def test_evaluate_refuses_other_batches(batch: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        loupe.evaluate(make_model(), [batch])
    assert caught.value.message == message
