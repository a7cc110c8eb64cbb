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
from itertools import cycle, islice, pairwise
from pathlib import Path

import numpy as np
import torch
from peers import LEARNING_RATE, PEERS, BatchList, Work, call_in_training, train
from table import Table
from torch import Tensor, nn
from turns import Answer, Failure, answer, ask, in_turns, spread_of

from torchloupe.data.feed import Batch
from torchloupe.hardware.precision import Precision
from torchloupe.loop import train as run_loop
from torchloupe.model.losses import make_loss
from torchloupe.model.optimizers import make_optimizer
from torchloupe.model.schedules import make_schedule
from torchloupe.plan import Plan
from torchloupe.run import RunFolder
from torchloupe.state import State

BATCH = 64
GOAL_MICROSECONDS = 20
OURS = "torchloupe"
OURS_FUSED = "torchloupe, fused"  # the optimizer of its default recipe


def make_table(repeats: int = 5, *, quick: bool = False) -> Table:
    """The table of all contenders; `quick` shows that it works and says nothing of speed."""
    steps = 200 if quick else 3000
    cases = {
        name: lambda name=name: ask(__file__, {"contender": name, "steps": steps}, threads=1)
        for name in (OURS, OURS_FUSED, *PEERS)
    }
    table = Table(
        "steps",
        f"Time a step of an empty model, batch {BATCH}, one thread",
        ("", "us a step", "bare loop in the same process", "beyond the bare loop"),
    )
    for name, answers in in_turns(cases, repeats).items():
        if isinstance(answers, Failure):
            table.add(name, f"failed: {answers.reason}", "", "")
            continue
        whole, bare, beyond = (spread_of(answers, key) for key in ("whole", "bare", "beyond"))
        table.add(name, *(times.show(factor=1e6) for times in (whole, bare, beyond)))
        if name in (OURS, OURS_FUSED):
            seen = 1e6 * beyond.median
            goal = f"<= {GOAL_MICROSECONDS} us"
            table.expect(
                f"{name}, beyond the bare loop", goal, f"{seen:.0f} us", seen <= GOAL_MICROSECONDS
            )
    table.notes.append(
        f"n = {repeats}, in turns, {steps:,} steps each after {warm_up(steps)}; median (range)"
    )
    table.notes.append("torch's Adam everywhere; what takes any iterable gets the bare batches")
    table.notes.append(
        "fused: torch's Adam with fused=True, as the default recipe of `loupe train` has it; the "
        "bare loop beside it has torch's default"
    )
    return table


def measure(contender: str, steps: int) -> Answer:
    """Seconds a step of the bare loop, of `contender`, and of the difference."""
    batches = make_batches(steps + warm_up(steps) + 1)
    before = time_steps("bare", batches, steps)
    whole = time_steps(contender, batches, steps)
    bare = (before + time_steps("bare", batches, steps)) / 2
    return {"whole": whole, "bare": bare, "beyond": whole - bare}


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

    if contender in (OURS, OURS_FUSED):
        call_in_training(model, tick)
        train_ours(model, batches, fused=contender == OURS_FUSED)
    else:
        name = "plain" if contender == "bare" else contender
        train(name, Work(model, BatchList(batches), tick=tick))
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
