"""What a step costs beyond a bare loop: an empty model over batches that are ready.

    python benchmarks/steps.py

The model is flatten and one linear layer, the batches are 64 images of 28x28 made beforehand,
so nearly all of a step is the framework. Every process times the bare loop before and after its
contender, and what is shown is the difference. One thread. About 4 minutes for 5 repeats.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice, pairwise
from pathlib import Path

import numpy as np
import torch
from peers import LEARNING_RATE, PEERS, BatchList, Work, call_in_training, train
from table import Table
from torch import Tensor, nn
from turns import Answer, Failure, answer, ask, in_turns, spread_of

from torchloupe.data.feeds.feed import Batch
from torchloupe.hardware.precision import Precision
from torchloupe.model.losses import make_loss
from torchloupe.model.optimizers import make_optimizer
from torchloupe.model.schedules import make_schedule
from torchloupe.prepare.plan import Plan
from torchloupe.run.folder import RunFolder
from torchloupe.run.state import State
from torchloupe.train.loop import train as run_loop

BATCH = 64
GOAL_MICROSECONDS = 20
OURS = "torchloupe"  # with Adam as `fit` makes it where nothing else is asked for: fused
OURS_UNFUSED = "torchloupe, fused=False"


def make_table(repeats: int = 5, *, quick: bool = False) -> Table:
    """The table of all contenders; `quick` shows that it works and says nothing of speed."""
    steps = 200 if quick else 3000
    cases = {
        name: lambda name=name: ask(__file__, {"contender": name, "steps": steps}, threads=1)
        for name in (OURS, OURS_UNFUSED, *PEERS)
    }
    table = Table(
        "steps",
        f"Time a step of an empty model, batch {BATCH}, one thread",
        (
            *("", "us a step", "bare loop in the same process", "beyond it"),
            "beyond a bare loop with fused=True",
        ),
    )
    for name, answers in in_turns(cases, repeats).items():
        if isinstance(answers, Failure):
            table.add(name, f"failed: {answers.reason}", "", "", "")
            continue
        keys = ("whole", "bare", "beyond", "beyond_fused")
        table.add(name, *(spread_of(answers, key).show(factor=1e6) for key in keys))
        for key, what in (("beyond", "a bare loop"), ("beyond_fused", "one with fused=True")):
            if name == OURS:
                seen = 1e6 * spread_of(answers, key).median
                goal, met = f"<= {GOAL_MICROSECONDS} us", seen <= GOAL_MICROSECONDS
                table.expect(f"{name}, beyond {what}", goal, f"{seen:.0f} us", met)
    table.notes.append(
        f"n = {repeats}, in turns, {steps:,} steps each after {warm_up(steps)}; median (range)"
    )
    table.notes.append(
        "torch's Adam everywhere, as it comes except in torchloupe, which takes fused=True unless "
        "told otherwise; what takes any iterable gets the bare batches"
    )
    return table


def measure(contender: str, steps: int) -> Answer:
    """Seconds a step of the bare loop, of `contender`, and of the differences."""
    batches = make_batches(steps + warm_up(steps) + 1)
    before = time_steps("bare", batches, steps)
    whole = time_steps(contender, batches, steps)
    bare = (before + time_steps("bare", batches, steps)) / 2
    fused = time_steps("bare, fused", batches, steps)
    return {"whole": whole, "bare": bare, "beyond": whole - bare, "beyond_fused": whole - fused}


def warm_up(steps: int) -> int:
    """How many steps are not counted."""
    return steps // 10


def make_batches(count: int) -> list[tuple[Tensor, Tensor]]:
    """`count` batches, fifty different ones again and again."""
    generator = torch.Generator().manual_seed(0)
    fifty = [
        (
            torch.randn(BATCH, 1, 28, 28, generator=generator),
            torch.randint(10, (BATCH,), generator=generator),
        )
        for _ in range(50)
    ]
    return list(islice(cycle(fifty), count))


def time_steps(contender: str, batches: list[tuple[Tensor, Tensor]], steps: int) -> float:
    """Mean seconds between the forwards of the last `steps` steps.

    The slowest twentieth is left out, of all alike: there another process had the core.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    ticks: list[float] = []

    def tick() -> None:
        ticks.append(time.perf_counter())

    work = Work(model, BatchList(batches), tick=tick)
    if contender in (OURS, OURS_UNFUSED):
        call_in_training(model, tick)
        train_ours(model, batches, fused=contender == OURS)
    elif contender == "bare, fused":
        train("plain", replace(work, fused=True))
    else:
        train("plain" if contender == "bare" else contender, work)
    lasted = sorted(end - start for start, end in pairwise(ticks[-1 - steps :]))
    return statistics.mean(lasted[: -(steps // 20)])


class ReadyFeed:
    """A feed of batches that are ready."""

    def __init__(self, batches: list[tuple[Tensor, Tensor]]) -> None:
        rows = np.arange(BATCH)
        self._batches = [Batch(images, labels, rows) for images, labels in batches]

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        """Them all, once."""
        return iter(self._batches[start_step:])


def train_ours(model: nn.Module, batches: list[tuple[Tensor, Tensor]], *, fused: bool) -> None:
    """torchloupe's own loop, with everything it does in each step; it logs once, at the end."""
    precision = Precision("fp32", torch.device("cpu"))
    options = {"fused": True} if fused else None
    optimizer = make_optimizer("adam", model, lr=LEARNING_RATE, options=options)
    state = State(model, optimizer, precision)
    plan = Plan(
        total_steps=len(batches),
        steps_per_epoch=len(batches),
        loss=make_loss("cross_entropy", classes=10),
        schedule=make_schedule("constant", warmup_fraction=0, total_steps=len(batches)),
        seed=0,
        log_every=len(batches),
    )
    with tempfile.TemporaryDirectory() as folder, RunFolder(Path(folder)) as run:
        run_loop(state, ReadyFeed(batches), plan, run, precision)


if __name__ == "__main__" and not answer(measure):
    print(make_table().to_markdown())
