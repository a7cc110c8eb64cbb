"""R18: a step that runs out of memory is done in pieces, and is the same step."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from torchloupe.data.feeds.feed import Batch
from torchloupe.errors import ResourceError
from torchloupe.hardware.precision import Precision
from torchloupe.model.losses import make_loss
from torchloupe.model.optimizers import make_optimizer
from torchloupe.model.schedules import make_schedule
from torchloupe.prepare.plan import Plan
from torchloupe.run import checkpoint
from torchloupe.run.events import read_events
from torchloupe.run.folder import RunFolder
from torchloupe.run.state import State
from torchloupe.train.loop import train as run_loop
from torchloupe.train.start import resume, train

CPU = torch.device("cpu")
STEPS = 12


class Tight(nn.Module):
    """Has no memory for more than `most` images at once, from step `since` on."""

    def __init__(self, phase: str = "", since: int = 0, most: int = 0, norm: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.phase, self.since, self.most, self.calls = phase, since, most, 0
        self.first = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.last = nn.Linear(64, 3)

    def forward(self, images: Tensor) -> Tensor:
        self.calls += self.training
        is_full = self.calls > self.since and len(images) > self.most
        if self.phase == "forward" and is_full:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")
        seen = self.norm(self.first(images)).relu()
        if self.phase == "backward" and is_full:
            seen.register_hook(self.refuse)
        return self.last(seen.flatten(1))

    def refuse(self, gradient: Tensor) -> Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")


class Batches:
    """The same random images at every start; each fifth batch is smaller."""

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        step = start_step
        while True:
            generator = torch.Generator().manual_seed(step)
            count = 3 if step % 5 == 4 else 10
            images = torch.randn(count, 1, 6, 6, generator=generator)
            labels = torch.randint(0, 3, (count,), generator=generator)
            yield Batch(images, labels, np.arange(count))
            step += 1


def run(folder: Path, model: nn.Module, steps: int = STEPS, **more: int) -> State:
    """Train `model`; the state it ends in."""
    state = State(model, make_optimizer("adam", model, lr=0.01, options={}), Precision("fp32", CPU))
    plan = Plan(
        total_steps=steps,
        steps_per_epoch=5,
        loss=make_loss("cross_entropy", classes=3),
        schedule=make_schedule("constant", warmup_fraction=0.0, total_steps=steps),
        seed=0,
        log_every=1,
        **more,
    )
    folder.mkdir()
    with RunFolder(folder) as opened:
        run_loop(state, Batches(), plan, opened, state.precision)
    return state


def is_near(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in pairs)


@pytest.mark.parametrize("phase", ["forward", "backward"])
@pytest.mark.parametrize("since", [0, 3, STEPS - 1])
def test_step_out_of_memory_is_done_in_pieces(tmp_path: Path, phase: str, since: int) -> None:
    whole = run(tmp_path / "whole", Tight())
    split = run(tmp_path / "split", Tight(phase, since, most=4))
    assert is_near(whole.model, split.model)
    events = read_events(tmp_path / "split")
    noted = [event for event in events if "images_at_once" in event]
    assert [event["images_at_once"] for event in noted] == [5, 3]
    assert {event["step"] for event in noted} == {since + 1}
    assert "10 images at once did not fit: this process may use" in noted[0]["note"]
    logs = [[e["lr"] for e in read_events(tmp_path / n) if "lr" in e] for n in ("whole", "split")]
    assert logs[0] == logs[1]


def test_pieces_come_on_top_of_those_asked_for(tmp_path: Path) -> None:
    split = run(tmp_path / "split", Tight("forward", 0, most=3), micro_batches=2)
    assert split.micro_limit.most == 3
    assert is_near(run(tmp_path / "whole", Tight()).model, split.model)


def test_buffers_are_put_back_before_the_step_is_tried_again(tmp_path: Path) -> None:
    """BatchNorm counts its batches: those of a try that failed don't count."""
    split = run(tmp_path / "split", Tight("backward", 0, most=5, norm=True), steps=1)
    assert int(split.model.norm.num_batches_tracked) == 2


def test_one_image_that_does_not_fit_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"one image .* does not fit .*may use .* are free"):
        run(tmp_path / "run", Tight("forward", 2, most=0))


def test_other_errors_are_left_alone(tmp_path: Path) -> None:
    model = Tight()
    model.last = nn.Linear(63, 3)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        run(tmp_path / "run", model)


MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, in_channels, classes, train_most=10**6, judge_most=10**6):
        super().__init__()
        self.most = {True: train_most, False: judge_most}
        self.drop, self.last = nn.Dropout(0.2), nn.Linear(64 * in_channels, classes)

    def forward(self, x):
        if len(x) > self.most[self.training]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")
        return self.last(self.drop(x.flatten(1)))
"""


def settings(tmp_path: Path, **options: int) -> dict[str, object]:
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    return {
        "model.name": f"{path}:Net",
        "model.options": options,
        "train.epochs": 2,
        "train.batch_total": 300,
        "train.log_every_steps": 1,
        "train.save_every_epochs": 0.2,
        "schedule.name": "constant",
        "hardware.device": "cpu",
    }


def test_evaluation_out_of_memory_gives_the_same_numbers(tmp_path: Path) -> None:
    whole = train("digits", settings(tmp_path), out=tmp_path / "whole")
    split = train("digits", settings(tmp_path, judge_most=50), out=tmp_path / "split")
    assert split.metrics["test"]["confusion"] == whole.metrics["test"]["confusion"]
    assert split.metrics["test"]["loss"] == pytest.approx(whole.metrics["test"]["loss"], rel=1e-6)
    seen = [[e["weights"] for e in run.events if "weights" in e] for run in (whole, split)]
    assert seen[0] == seen[1]


def test_resume_out_of_memory_goes_on_in_the_pieces_it_had(tmp_path: Path) -> None:
    """The first step after a resume does not have to find out again, and has the same bits."""
    whole = train("digits", settings(tmp_path, train_most=80), out=tmp_path / "whole")
    train("digits", {**settings(tmp_path, train_most=80), "train.epochs": 1}, out=tmp_path / "two")
    again = resume(tmp_path / "two", settings={"train.epochs": 2}, trust_code=True)
    states = [checkpoint.read_newest(run.folder / "checkpoints")[0] for run in (whole, again)]
    assert states[0]["state"]["images_at_once"] == states[1]["state"]["images_at_once"] == 75
    assert checkpoint.hash_tensors(states[0]["model"]) == checkpoint.hash_tensors(
        states[1]["model"]
    )
    assert len([event for event in again.events if "images_at_once" in event]) == 2


def test_resume_where_there_is_less_memory_splits_there(tmp_path: Path) -> None:
    train("digits", {**settings(tmp_path), "train.epochs": 1}, out=tmp_path / "run")
    small = {"train.epochs": 2, "model.options.train_most": 200}
    done = resume(tmp_path / "run", settings=small, trust_code=True)
    (split,) = [event for event in done.events if "images_at_once" in event]
    assert (split["step"], split["images_at_once"]) == (6, 150)
