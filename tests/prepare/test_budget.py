"""A budget in minutes covers everything from the first moment to the last."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from torchloupe.data.feeds.feed import Batch
from torchloupe.hardware.precision import Precision
from torchloupe.prepare import budget as budget_module
from torchloupe.prepare.budget import Budget, time_steps
from torchloupe.prepare.objects import UserObjects
from torchloupe.prepare.session import prepare_session
from torchloupe.train.start import decide, train


@pytest.mark.parametrize(
    ("now", "left", "noted"), [(0, 90, False), (30, 60, False), (70, 50, True)]
)
def test_training_gets_what_is_left_but_half_at_least(
    now: float, left: float, noted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_module.time, "perf_counter", lambda: 5.0 + now)
    budget = Budget(100.0, began=5.0, validation=1.0, ending=10.0)
    assert budget.left() == left
    assert bool(budget.notes()) == noted


def test_a_run_ends_on_time_with_the_last_learning_rate(tmp_path: Path) -> None:
    began = time.perf_counter()
    run = train("digits", {"train.minutes": 0.15}, None, tmp_path / "run")
    took = time.perf_counter() - began
    assert 0.7 * 9 < took < 3 * 9  # a busy or slow machine ends late
    lines = [event for event in run.events if "lr" in event]
    assert lines[-1]["lr"] < 0.02 * max(line["lr"] for line in lines)


def test_what_went_before_counts(tmp_path: Path) -> None:
    began = time.perf_counter() - 4
    run = train("digits", {"train.minutes": 0.1}, None, tmp_path / "run", began=began)
    assert any("more than half of the given minutes" in str(event) for event in run.events)
    assert time.perf_counter() - began < 4 + 20  # a budget of ten minutes would be no test


@pytest.mark.parametrize(
    ("typed", "options"),
    [
        ({"train.minutes": 0.05}, {"width": 16, "last": 2}),
        ({"train.minutes": 60.0}, {}),
        ({"train.epochs": 0.1}, {}),
        ({"train.minutes": 0.05, "model.name": "residual"}, {}),
        ({"train.minutes": 0.05, "model.options.width": 8}, {"width": 8}),
    ],
)
def test_little_time_gets_a_narrower_network_unless_one_was_named(
    typed: dict[str, object], options: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_module, "time_step", lambda *_: 0.05)
    monkeypatch.setattr("torchloupe.prepare.machine.known_profile", lambda: None)
    monkeypatch.setattr("torchloupe.prepare.measured.choose_speed", lambda *_: ({}, []))
    settings = decide({"data.source": "digits", **typed}, None)
    work = prepare_session(settings, UserObjects("digits"))
    assert work.config.model.options == options
    assert work.config.optimizer.lr == 0.02


def test_steps_are_timed_also_where_a_batch_does_not_fit() -> None:
    sizes: list[int] = []

    class Hungry(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            sizes.append(len(images))
            if len(images) > 8:
                raise MemoryError
            return self.fc(images)

    class Feed:
        def batches(self, start_step: int = 0):
            while True:
                yield Batch(torch.zeros(32, 4), torch.zeros(32, dtype=torch.long), np.arange(32))

    seconds = time_steps(
        Hungry(),
        Feed(),
        nn.CrossEntropyLoss(),
        lambda model: torch.optim.SGD(model.parameters(), lr=0.1),
        Precision("fp32", torch.device("cpu")),
        0.0,
    )
    assert 0 < seconds < 60
    assert sizes[:3] == [32, 16, 8]
