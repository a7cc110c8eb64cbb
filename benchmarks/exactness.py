"""What being exact costs: the pause for checkpoints, and the fingerprint of the weights.

    python benchmarks/exactness.py

A network trains on batches that are ready, once with a checkpoint every 10 seconds and once
without: the pause is what training waited for them, and what the run took longer is shown
beside it, since the thread that writes takes a share of the cores. The fingerprint is timed by
itself, over the steps between two log lines of an epoch of 60,000 images. 6 minutes.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torchvision
from table import Table
from torch import nn
from turns import Answer, Failure, answer, ask, in_turns, spread_of

from torchloupe.data.feeds.feed import Batch
from torchloupe.hardware.precision import Precision
from torchloupe.model.losses import make_loss
from torchloupe.model.schedules import make_schedule
from torchloupe.model.zoo import CNN, ResidualNet
from torchloupe.prepare.plan import Plan
from torchloupe.run.folder import RunFolder
from torchloupe.run.state import State
from torchloupe.run.weights import checksum_weights
from torchloupe.train.loop import train

EVERY_SECONDS = 10
IMAGES = 60_000  # of an epoch
MOST_PAUSE = 0.05
MOST_FINGERPRINT = 0.01
BATCH = 64
MODELS = {
    "CNN, 28x28": lambda: (CNN(1, 10), (1, 28, 28)),
    "residual net, 32x32": lambda: (ResidualNet(3, 10), (3, 32, 32)),
    "resnet18, 64x64": lambda: (torchvision.models.resnet18(num_classes=10), (3, 64, 64)),
}


def make_table(repeats: int = 5, *, quick: bool = False) -> Table:
    """The table of three networks; `quick` shows that it works and says nothing of speed."""
    seconds = 1.0 if quick else 24.0
    cases = {
        name: lambda name=name: ask(__file__, {"model": name, "seconds": seconds})
        for name in MODELS
    }
    table = Table(
        "exactness",
        f"The cost of checkpoints every {EVERY_SECONDS} s, and of the weights' fingerprint",
        ("", "checkpoint, MB", "pause, % of the run", "longer run, %", "fingerprint, % of a step"),
    )
    for name, answers in in_turns(cases, repeats).items():
        if isinstance(answers, Failure):
            table.add(name, f"failed: {answers.reason}", "", "", "")
            continue
        keys = ("pause", "longer", "fingerprint")
        pause, longer, fingerprint = (spread_of(answers, key) for key in keys)
        shown = [each.show(2, factor=100) for each in (pause, longer, fingerprint)]
        table.add(name, spread_of(answers, "bytes").show(1, factor=1e-6), *shown)
        for what, seen, most in (
            ("pause", pause, MOST_PAUSE),
            ("fingerprint", fingerprint, MOST_FINGERPRINT),
        ):
            is_met = seen.median <= most
            table.expect(f"{name}: {what}", f"<= {most:.0%}", f"{seen.median:.2%}", is_met)
    table.notes.append(f"n = {repeats}, in turns, {seconds:.0f} s each way; Adam, batch {BATCH}")
    return table


def measure(model: str, seconds: float) -> Answer:
    """Shares of pause, of longer runs, and of the fingerprint; the bytes of a checkpoint."""
    step = time_steps(model, 3, 0)[0] / 3
    steps = max(2, round(seconds / step))
    every = min(EVERY_SECONDS, seconds / 3)
    without, _, _ = time_steps(model, steps, 0)
    whole, pause, size = time_steps(model, steps, every)
    network = MODELS[model]()[0]
    times = [time_fingerprint(network) for _ in range(20)]
    between = max(1, IMAGES // BATCH // 20)  # steps, as work.py has it
    return {
        "pause": pause / whole,
        "longer": whole / without - 1,
        "fingerprint": min(times) / (between * without / steps),
        "bytes": size,
    }


def time_fingerprint(model: nn.Module) -> float:
    """Seconds of one."""
    start = time.perf_counter()
    checksum_weights(model)
    return time.perf_counter() - start


def time_steps(model: str, steps: int, save_every: float) -> tuple[float, float, int]:
    """Seconds of a run, those of them that it waited for checkpoints, and bytes of one."""
    torch.manual_seed(0)
    network, shape = MODELS[model]()
    optimizer = torch.optim.Adam(network.parameters())
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    precision = Precision("fp32", torch.device("cpu"))
    with (
        tempfile.TemporaryDirectory() as folder,
        RunFolder(Path(folder), save_every_seconds=save_every) as run,
    ):
        start = time.perf_counter()
        train(State(network, optimizer, precision), Same(shape), make_plan(steps), run, precision)
        whole = time.perf_counter() - start
        size = sum(p.stat().st_size for p in (run.path / "last").resolve().iterdir())
        # The checkpoint at the end is one of both ways, and no part of the steps.
        return (whole, run.pause_seconds, size)


def make_plan(steps: int) -> Plan:
    """A constant rate, and a checkpoint by steps at the end only."""
    return Plan(
        total_steps=steps,
        steps_per_epoch=steps,
        loss=make_loss("cross_entropy", classes=10),
        schedule=make_schedule("constant", warmup_fraction=0.0, total_steps=steps, options={}),
        seed=0,
        log_every=max(1, steps // 20),
        evaluate_every=steps,
        save_every=steps,
    )


class Same:
    """One batch over and over."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.batch = Batch(
            torch.rand(BATCH, *shape), torch.randint(10, (BATCH,)), np.arange(BATCH), 0
        )

    def batches(self, start_step: int = 0) -> Iterator[Batch]:  # noqa: ARG002
        """Without end."""
        while True:
            yield self.batch


if __name__ == "__main__" and not answer(measure):
    print(make_table().to_markdown())
