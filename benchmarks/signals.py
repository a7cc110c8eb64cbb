"""What the default signals cost: seconds a step with them, over seconds a step without.

    python benchmarks/signals.py [--rounds 5] [--steps 240] [--threads 1] [--device cpu]

The network is the newcomer's CNN (two convolutions, 28x28 grey images, batches of 64), trained by
the package's own loop on the same batches. Rounds alternate between off, default (one step in
60) and every log line (one in 20). Prints medians and their spread, by the clock and, less
disturbed by other programs, of the processor; must be at most 1.03 for the default.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from torchloupe.config.schema import Config
from torchloupe.config.text import change
from torchloupe.data.feeds.feed import Batch
from torchloupe.hardware.device import choose_device, wait_for
from torchloupe.hardware.precision import Precision
from torchloupe.model.zoo import CNN
from torchloupe.prepare.plan import Plan
from torchloupe.prepare.session import make_plan
from torchloupe.run.folder import RunFolder
from torchloupe.run.state import State
from torchloupe.train.loop import train

STEPS_PER_EPOCH = 400  # Fashion-MNIST in batches of 128: a log line every 20 steps


class SameBatches:
    """The same 16 batches over and over, already on the device."""

    def __init__(self, device: torch.device) -> None:
        source = torch.Generator().manual_seed(0)
        images = torch.rand(16, 64, 1, 28, 28, generator=source)
        labels = torch.randint(10, (16, 64), generator=source)
        rows = np.arange(64)
        self.items = [
            Batch(i.to(device), y.to(device), rows, 0) for i, y in zip(images, labels, strict=True)
        ]

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        """An endless stream of batches."""
        while True:
            yield self.items[start_step % len(self.items)]
            start_step += 1


def time_steps(feed: SameBatches, plan: Plan, device: torch.device) -> tuple[float, float]:
    """Seconds a step of one fresh training run: by the clock, and of the processor."""
    torch.manual_seed(0)
    model: nn.Module = CNN(1, 10).to(device)
    optimizer = torch.optim.Adam(model.parameters())
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    state = State(model, optimizer, precision := Precision("fp32", device))
    with tempfile.TemporaryDirectory() as folder, RunFolder(Path(folder)) as run:
        start, busy = time.perf_counter(), time.process_time()
        train(state, feed, plan, run, precision)
        wait_for(device)
        clock = time.perf_counter() - start - run.pause_seconds
        return clock / plan.total_steps, (time.process_time() - busy) / plan.total_steps


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy."""
    return nn.functional.cross_entropy(logits, labels)


def main() -> None:
    """Time the three ways in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    device = choose_device(asked.device).device
    feed = SameBatches(device)
    ways = {
        "off": {"lens.signals": False},
        "default": {},
        "every log line": {"lens.signals_every_steps": 1},
    }
    plans = {}
    for name, settings in ways.items():
        epochs = asked.steps / STEPS_PER_EPOCH
        config = change(
            Config(),
            {
                "schedule.name": "constant",
                "train.epochs": epochs,
                "train.save_every_epochs": 0,
                **settings,
            },
        )
        plans[name] = make_plan(config, STEPS_PER_EPOCH, loss)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(asked.rounds + 1):
        for name, plan in plans.items():
            seconds = time_steps(feed, plan, device)
            if number:  # the first round warms up
                times[name].append(seconds)
    print(f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads")
    print(f"{asked.rounds} rounds of {asked.steps} steps\n")
    for kind, what in enumerate(("ms a step", "ms of CPU")):
        print(f"{'signals':<16}{'one in':>8}{what:>12}{'spread':>10}{'over off':>10}")
        off = statistics.median(pair[kind] for pair in times["off"])
        for name, pairs in times.items():
            found = [pair[kind] for pair in pairs]
            middle, spread = statistics.median(found), max(found) - min(found)
            every = plans[name].signals_every or "-"
            row = f"{1e3 * middle:>12.3f}{1e3 * spread:>10.3f}{middle / off:>10.3f}"
            print(f"{name:<16}{every!s:>8}{row}")
        print()


if __name__ == "__main__":
    main()
