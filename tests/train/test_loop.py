"""The loop where steps go wrong, and where the host must not wait for the device."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from torchloupe.data.feeds.feed import Batch
from torchloupe.errors import NumericError
from torchloupe.hardware.precision import Precision
from torchloupe.model.losses import make_loss
from torchloupe.model.optimizers import make_average, make_optimizer
from torchloupe.model.schedules import make_schedule
from torchloupe.prepare.plan import Plan
from torchloupe.run.events import read_events
from torchloupe.run.folder import RunFolder
from torchloupe.run.state import State
from torchloupe.train.loop import train, validate

CPU = torch.device("cpu")


class Batches:
    """Batches of random images; those at the steps `bad` hold a NaN."""

    def __init__(self, bad: tuple[int, ...] = (), device: torch.device = CPU) -> None:
        self.bad = bad
        self.device = device

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        step = start_step
        while True:
            generator = torch.Generator().manual_seed(step)
            images = torch.randn(8, 1, 6, 6, generator=generator)
            if step in self.bad:
                images[3, 0, 2, 2] = float("nan")
            labels = torch.randint(0, 3, (8,), generator=generator)
            rows = np.arange(8) + 8 * step
            yield Batch(images.to(self.device), labels.to(self.device), rows)
            step += 1


def make_state(device: torch.device = CPU, *, waits: bool | None = None) -> State:
    """A small net with BatchNorm and averaged weights, before its first step."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    ).to(device)
    precision = Precision("fp32", device, waits=waits)
    optimizer = make_optimizer("adamw", model, lr=0.01, options={"fused": True})
    return State(model, optimizer, precision, average=make_average(model, 0.9))


def make_plan(steps: int = 20, bad_steps: int = 10) -> Plan:
    """Steps, and what happens how often."""
    return Plan(
        total_steps=steps,
        steps_per_epoch=10,
        loss=make_loss("cross_entropy", classes=3),
        schedule=make_schedule("onecycle", warmup_fraction=0.2, total_steps=steps),
        seed=0,
        clip_norm=1.0,
        log_every=7,
        save_every=10,
        bad_steps=bad_steps,
    )


def run_loop(
    folder: Path, feed: Batches, *, waits: bool | None = None, steps: int = 20, bad_steps: int = 10
) -> State:
    """Train the small net."""
    state, plan = make_state(feed.device, waits=waits), make_plan(steps, bad_steps)
    precision = state.precision
    folder.mkdir()
    with RunFolder(folder) as run:
        train(state, feed, plan, run, precision)
    return state


@pytest.mark.parametrize("waits", [True, False])
def test_loop_leaves_out_steps_that_are_not_finite(tmp_path: Path, waits: bool) -> None:
    state = run_loop(tmp_path / "run", Batches(bad=(4, 5, 13)), waits=waits)
    events = read_events(tmp_path / "run")
    assert [e["step"] for e in events if "bad_step" in e] == [5, 6, 14]
    assert all(e["rows"][0] == 8 * (e["step"] - 1) for e in events if "bad_step" in e)
    assert all(np.isfinite(e["train_loss"]) for e in events if "train_loss" in e)
    assert all(torch.isfinite(t).all() for t in state.model.state_dict().values())
    assert state.model[1].num_batches_tracked == 17
    assert isinstance(state.precision, Precision)
    assert state.precision.skipped_steps == 3


def test_loop_that_does_not_wait_has_the_bits_of_the_one_that_does(tmp_path: Path) -> None:
    ends = [
        run_loop(tmp_path / str(waits), Batches(), waits=waits).trees() for waits in (True, False)
    ]
    logs = [
        [e["train_loss"] for e in read_events(tmp_path / str(waits)) if "train_loss" in e]
        for waits in (True, False)
    ]
    assert logs[0] == logs[1]
    for part in ("model", "average"):
        assert all(map(torch.equal, ends[0][part].values(), ends[1][part].values()))


@pytest.mark.parametrize("waits", [True, False])
def test_loop_gives_up_after_bad_steps_in_a_row(tmp_path: Path, waits: bool) -> None:
    with pytest.raises(NumericError, match=r"3 steps in a row, up to step 7 .*rows \[48, 49"):
        run_loop(tmp_path / "run", Batches(bad=(1, 4, 5, 6)), waits=waits, bad_steps=3)
    manifest = json.loads((tmp_path / "run/last/manifest.json").read_text())
    assert manifest["files"]


@pytest.mark.gpu
def test_no_step_waits_for_the_gpu(tmp_path: Path) -> None:
    device = torch.device("cuda", 0)
    run_loop(tmp_path / "warm", Batches(device=device), steps=3)
    made = [batch for _, batch in zip(range(60), Batches(device=device).batches(), strict=False)]

    class Ready(Batches):
        """Batches that lie on the device; nothing is due at steps 12 and 13."""

        def batches(self, start_step: int = 0) -> Iterator[Batch]:
            for number, batch in enumerate(made[start_step:], start=start_step):
                torch.cuda.set_sync_debug_mode("error" if 11 <= number < 13 else "default")
                yield batch

    try:
        state = run_loop(tmp_path / "run", Ready(device=device))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert state.step == 20


def test_budget_of_time_ends_on_time_with_the_last_learning_rate(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    precision = Precision("fp32", CPU)
    state = State(model, make_optimizer("adam", model, lr=0.01, options={}), precision)
    plan = Plan(
        total_steps=40,  # far too few
        steps_per_epoch=50,
        loss=make_loss("cross_entropy", classes=3),
        schedule=make_schedule("onecycle", warmup_fraction=0.2, total_steps=40),
        seed=0,
        log_every=5,
        seconds=2.0,
    )
    with RunFolder(tmp_path) as run:
        train(state, Batches(), plan, run, precision)
    events = [event for event in read_events(tmp_path) if "lr" in event]
    assert state.step == events[-1]["step"] == events[-1]["total_steps"]
    assert state.step > 80
    assert 1.5 < state.seconds < 4  # the clock's, which a busy machine stretches
    assert events[-1]["lr"] < 1e-3 * max(event["lr"] for event in events)


def test_judge_keeps_the_later_of_equally_good_steps(tmp_path: Path) -> None:
    state, plan = make_state(), make_plan()
    best_steps, without_gain = [], []
    with RunFolder(tmp_path) as run:
        for value in (0.5, 0.7, 0.7, 0.6, 0.7):
            state.step += 10
            validate(state, plan, run, lambda _, value=value: {"val_accuracy": value})
            best_steps.append(state.best_step)
            without_gain.append(state.evaluations_without_gain)
    assert best_steps == [10, 20, 30, 30, 50]
    assert without_gain == [0, 0, 1, 2, 3]  # an equal value is no gain: patience runs on
