"""How losses of other people add up, found out by asking them."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchloupe.checks.adding import find_adding, make_example, settle_adding, softmax
from torchloupe.errors import UsageError
from torchloupe.model.losses import make_loss

LABELS = torch.tensor([0, 1])
WEIGHT = torch.tensor([1.0, 0.2, 3.0])


def spread(logits, labels):
    """One that compares the images of a batch."""
    return F.cross_entropy(logits, labels) + logits.std()


def of_probabilities(probabilities, labels):
    return F.nll_loss(probabilities.log(), labels)


def broken(logits, labels):
    raise ValueError("no such batch")


class Warming(nn.Module):
    def __init__(self):
        super().__init__()
        self.n = 0

    def forward(self, logits, labels):
        self.n += 1
        return F.cross_entropy(logits, labels) * self.n


@pytest.mark.parametrize(
    ("loss", "adding"),
    [
        (lambda logits, labels: 2 * F.cross_entropy(logits, labels), "mean"),
        (lambda logits, labels: F.cross_entropy(logits, labels, reduction="sum"), "sum"),
        (partial(F.cross_entropy, weight=WEIGHT), "other"),
        (partial(F.cross_entropy, ignore_index=1), "other"),
        (spread, "other"),
        (of_probabilities, "mean"),
        (broken, "unknown"),
        (Warming(), "mean"),
    ],
)
def test_adding_is_found_by_asking(loss, adding):
    assert find_adding(make_loss(loss, classes=3), LABELS) == adding


def test_asking_leaves_the_loss_as_it_was():
    loss = Warming()
    find_adding(make_loss(loss, classes=3), LABELS)
    assert loss.n == 0


def test_several_labels_get_rows():
    logits, labels = make_example(3, torch.zeros(2, 3), softmax)
    assert labels.shape == logits.shape == (8, 3)
    assert labels.dtype == torch.float32


def test_micro_batches_of_a_loss_that_is_no_mean_are_refused():
    loss = make_loss(partial(F.cross_entropy, weight=WEIGHT), classes=3)
    assert settle_adding(loss, LABELS, 1, 1) == []
    with pytest.raises(UsageError, match=r"train\.micro_batches=4 would train on another loss"):
        settle_adding(loss, LABELS, 4, 1)
    (note,) = settle_adding(loss, LABELS, 1, 2)
    assert note.startswith("2 ranks each compute")


def test_a_loss_that_can_not_be_asked_is_noted_where_it_matters():
    loss = make_loss(broken, classes=3)
    assert settle_adding(loss, LABELS, 1, 2) == []
    (note,) = settle_adding(loss, LABELS, 2, 1)
    assert "could not be asked" in note


def test_a_loss_that_leaves_unsure_images_out_is_no_mean():
    def masked(logits, labels):
        kept = (logits.softmax(dim=1).amax(dim=1) > 0.4).float()
        losses = nn.functional.cross_entropy(logits, labels, reduction="none")
        return (losses * kept).sum() / kept.sum().clamp_min(1)

    assert find_adding(make_loss(masked, classes=3), torch.zeros(4, dtype=torch.int64)) == "other"
