"""Schedulers of torch in a run: as in a plain loop, and the same after a resume."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau, StepLR

import torchloupe as loupe
from torchloupe.errors import UsageError

QUICK = {"train.log_every_steps": 1, "hardware.device": "cpu", "train.batch_total": 450}


def rates(run: loupe.Run) -> list[float]:
    return [event["lr"] for event in run.events if "lr" in event]


def plain_rates(make: Any, epochs: int, steps_per_epoch: int, each_step: bool) -> list[float]:
    """What a loop of torch alone steps with."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler, found = make(optimizer), []
    for step in range(epochs * steps_per_epoch):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if each_step or (step + 1) % steps_per_epoch == 0:
            scheduler.step()
    return found


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize(
    ("scheduler", "each_step"),
    [
        (partial(StepLR, step_size=2, gamma=0.5), False),
        (lambda optimizer: CosineAnnealingLR(optimizer, T_max=4), False),
        (partial(OneCycleLR, max_lr=0.3, total_steps=12), True),
    ],
)
def test_scheduler_gives_the_rates_of_a_plain_loop(
    scheduler: Any, each_step: bool, tmp_path: Path
) -> None:
    run = loupe.fit(
        "digits",
        model="net",
        optimizer=partial(torch.optim.SGD, lr=0.1),
        lr=0.1,
        epochs=4,
        out=tmp_path / "run",
        settings={**QUICK, "schedule": scheduler},
    )
    assert run.step == 12
    assert rates(run) == plain_rates(scheduler, 4, 3, each_step)


@pytest.mark.usefixtures("own_cache")
def test_function_of_the_optimizer_has_to_be_given_again_for_a_resume(tmp_path: Path) -> None:
    def scheduler(optimizer: torch.optim.Optimizer) -> StepLR:
        return StepLR(optimizer, step_size=1, gamma=0.5)

    settings: dict[str, Any] = {**QUICK, "schedule": scheduler, "train.epochs": 4}
    whole = loupe.fit("digits", model="net", lr=0.1, out=tmp_path / "whole", settings=settings)
    part = {**settings, "train.epochs": 2}
    loupe.fit("digits", model="net", lr=0.1, out=tmp_path / "part", settings=part)
    with pytest.raises(UsageError, match=r"the schedule of .* is from Python"):
        loupe.resume(tmp_path / "part", settings={"train.epochs": 4})
    again = loupe.resume(tmp_path / "part", settings={"train.epochs": 4, "schedule": scheduler})
    assert rates(again) == rates(whole)
    assert torch.equal(again.model.fc.weight, whole.model.fc.weight)


@pytest.mark.usefixtures("own_cache")
def test_plateau_of_torch_follows_the_validation(tmp_path: Path) -> None:
    scheduler = partial(ReduceLROnPlateau, patience=0, threshold=10.0)
    settings = {**QUICK, "schedule": scheduler}
    run = loupe.fit(
        "digits", model="net", lr=0.1, epochs=3, out=tmp_path / "run", settings=settings
    )
    assert rates(run)[0] == pytest.approx(0.1)
    assert rates(run)[-1] < 0.1


def test_unknown_schedule_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        loupe.fit("digits", out=tmp_path / "run", settings={"schedule.name": "cosin"})
    assert caught.value.message == "there is no schedule 'cosin'"
    assert "cosine" in caught.value.hint
