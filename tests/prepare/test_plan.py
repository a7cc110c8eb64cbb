"""The plan: rates of groups, the end of a budget of time, and what is better."""

import pytest
import torch
from torch import nn

from torchloupe.model.schedules import make_schedule
from torchloupe.prepare.plan import Plan


def make_plan(**changes: object) -> Plan:
    schedule = make_schedule("cosine", warmup_fraction=0, total_steps=100)
    given = {"total_steps": 100, "steps_per_epoch": 10, "seed": 0, **changes}
    return Plan(loss=nn.CrossEntropyLoss(), schedule=schedule, **given)


def test_every_group_gets_its_own_rate() -> None:
    groups = [{"params": [torch.zeros(1)], "lr": lr, "initial_lr": lr} for lr in (0.1, 0.01)]
    optimizer = torch.optim.SGD(groups)
    assert make_plan().set_lr(optimizer, 0, 100) == 0.1
    half = make_plan().set_lr(optimizer, 50, 100)
    assert half == pytest.approx(0.05, rel=0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [half, pytest.approx(half / 10)]


@pytest.mark.parametrize(
    ("budget", "step", "took", "last"),
    [
        (0.0, 50, 9.0, 100),  # no budget
        (60.0, 0, 0.0, 100),  # nothing is known of the pace yet
        (60.0, 10, 6.0, 100),
        (60.0, 10, 12.0, 50),
        (60.0, 80, 90.0, 80),  # over already: this step is the last
    ],
)
def test_last_step_follows_the_pace(budget: float, step: int, took: float, last: int) -> None:
    assert make_plan(seconds=budget).fit_steps(step, took) == last


@pytest.mark.parametrize(
    ("monitor", "value", "best", "better"),
    [
        ("val_accuracy", 0.5, None, True),
        ("val_accuracy", 0.6, 0.5, True),
        ("val_accuracy", 0.5, 0.5, False),
        ("val_loss", 0.4, 0.5, True),
        ("val_loss", 0.6, 0.5, False),
        ("val_loss", 0.5, 0.5, False),
    ],
)
def test_losses_count_downwards(
    monitor: str, value: float, best: float | None, better: bool
) -> None:
    assert make_plan(monitor=monitor).is_better(value, best) is better
