"""What micro-batches count for, compared with torch's own means."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchloupe.model.losses import make_loss
from torchloupe.model.shares import adding_of, amount_of, counts_none, weighed

WEIGHT = torch.tensor([1.0, 0.2, 3.0])
LABELS = torch.tensor([0, 0, 1, 2, 1, 0, 2, 0])


@pytest.mark.parametrize(
    ("criterion", "adding"),
    [
        (nn.CrossEntropyLoss(), "mean"),
        (nn.CrossEntropyLoss(label_smoothing=0.1), "mean"),
        (nn.CrossEntropyLoss(WEIGHT), "labels"),
        (nn.CrossEntropyLoss(ignore_index=1), "labels"),
        (nn.CrossEntropyLoss(WEIGHT, reduction="sum"), "sum"),
        (nn.NLLLoss(WEIGHT), "labels"),
        (nn.MultiMarginLoss(weight=WEIGHT), "mean"),
        (nn.BCEWithLogitsLoss(WEIGHT), "mean"),
        (nn.MSELoss(reduction="sum"), "sum"),
        (F.cross_entropy, "mean"),
        (lambda logits, labels: 2 * F.cross_entropy(logits, labels), "unknown"),
    ],
)
def test_adding_of_a_criterion_is_told_by_its_type(criterion, adding):
    assert adding_of(criterion) == adding


@pytest.mark.parametrize(
    "loss",
    [
        make_loss("cross_entropy", classes=3, weights=[1.0, 0.2, 3.0], smoothing=0.1),
        make_loss("nll", classes=3, weights=[1.0, 0.2, 3.0]),
        make_loss(nn.CrossEntropyLoss(WEIGHT, ignore_index=1), classes=3),
        make_loss(nn.CrossEntropyLoss(ignore_index=0), classes=3),
        make_loss("focal", classes=3, weights=[1.0, 0.2, 3.0]),
    ],
    ids=lambda loss: loss.name,
)
@pytest.mark.parametrize("cut", [2, 3, 5])
def test_parts_make_the_whole(loss, cut):
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).log_softmax(1)
    spans = slice(0, cut), slice(cut, 8)
    amounts = [amount_of(loss, LABELS[span]) for span in spans]
    shares = [len(LABELS[s]) / 8 if a is None else a for s, a in zip(spans, amounts, strict=True)]
    values = [loss(logits[span], LABELS[span]) for span in spans]
    parts = [weighed(*pair) for pair in zip(values, shares, strict=True)]
    total = sum(float(share) for share in shares)
    assert float(sum(parts)) / total == pytest.approx(float(loss(logits, LABELS)), rel=1e-5)


def test_rows_of_shares_count_by_images():
    loss = make_loss(nn.CrossEntropyLoss(WEIGHT), classes=3)
    assert amount_of(loss, torch.rand(4, 3)) is None
    assert float(amount_of(loss, torch.tensor([[0], [2]]))) == 4
    assert amount_of(F.cross_entropy, LABELS) is None


def test_a_part_without_labels_that_count_gives_nothing_and_no_nan():
    loss = make_loss(nn.CrossEntropyLoss(ignore_index=1), classes=3)
    logits = torch.zeros(2, 3, requires_grad=True)
    labels = torch.tensor([1, 1])
    value = weighed(loss(logits, labels), amount_of(loss, labels))
    assert float(value.detach()) == 0
    value.backward()
    assert torch.equal(logits.grad, torch.zeros(2, 3))
    assert weighed(value, 1) is value


def test_labels_that_are_all_left_out_count_nothing():
    loss = nn.CrossEntropyLoss(ignore_index=0)
    assert counts_none(loss, torch.zeros(3, dtype=torch.int64))
    assert counts_none(make_loss(loss, classes=2), torch.zeros(3, dtype=torch.int64))
    assert not counts_none(loss, torch.tensor([0, 1]))
    assert not counts_none(nn.CrossEntropyLoss(), torch.zeros(3, dtype=torch.int64))
    assert not counts_none(nn.functional.cross_entropy, torch.zeros(3, dtype=torch.int64))
