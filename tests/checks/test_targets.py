"""What a loss wants of the labels, and an optimizer of the loss."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torchloupe.checks.subject import Subject, make_callable
from torchloupe.checks.targets import judge_finite, judge_targets, maximizes

OUTPUTS = torch.zeros(12, 4)
NUMBERS = torch.arange(12) % 4


def names(loss: object, labels: Tensor, outputs: Tensor = OUTPUTS, takes: str = "") -> list[str]:
    subject = Subject(nn.Identity(), make_callable(loss), OUTPUTS, labels)
    return [verdict.verdict for verdict in judge_targets(subject, takes, outputs)]


def test_a_loss_to_which_all_outputs_are_alike_is_named() -> None:
    assert names(lambda out, y: ((out - y[:, None]) ** 2).mean(), NUMBERS) == [
        "outputs-not-told-apart"
    ]
    assert names(F.cross_entropy, NUMBERS, takes="logits") == []
    assert names(lambda out, y: ((out[:, 0] - y) ** 2).mean(), NUMBERS) == []
    one = torch.zeros(12, 1)
    assert names(lambda out, y: ((out - y[:, None]) ** 2).mean(), NUMBERS, one) == []
    assert names(lambda out, y: out.mean() * y.sum(), NUMBERS * 0) == []  # one class alone


def test_a_softmax_of_several_labels_is_named() -> None:
    rows = F.one_hot(NUMBERS, 4).float()
    assert names(F.cross_entropy, rows, takes="logits") == []
    rows[:4, 3] = 1
    assert names(F.cross_entropy, rows, takes="logits") == ["softmax-for-several-labels"]
    assert names(F.cross_entropy, rows / 2, takes="logits") == []  # shares of one whole
    assert names(F.binary_cross_entropy_with_logits, rows, takes="binary_logits") == []


@pytest.mark.parametrize(("outputs", "where"), [(OUTPUTS, "loss"), (OUTPUTS / 0, "model")])
def test_a_first_loss_that_is_no_number_is_named_where_it_begins(
    outputs: Tensor, where: str
) -> None:
    (verdict,) = judge_finite(outputs, float("nan"))
    assert (verdict.verdict, verdict.level, verdict.where) == ("loss-not-finite", "error", where)
    assert judge_finite(OUTPUTS, torch.tensor(1.0)) == []


def test_an_optimizer_that_climbs_is_known() -> None:
    parameters = [nn.Parameter(torch.zeros(2))]
    assert maximizes(torch.optim.Adam(parameters, maximize=True))
    assert not maximizes(torch.optim.SGD(parameters, 0.1))
    assert not maximizes(None)
