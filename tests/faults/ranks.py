"""Runs on several gloo ranks: processes with the environment that torchrun would give them."""

import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from children import Child, run_functions

from torchloupe.run.events import read_events

MODEL = '''
import os, time
import torch
from torch import nn

RANK = os.environ.get("RANK", "0")


class Net(nn.Module):
    """Takes `seconds` a step; on `rank`, in step `at` of the process, something happens."""

    def __init__(
        self, in_channels, classes, what="", at=0, rank="1", seconds=0.0, most=0, norm=False
    ):
        super().__init__()
        self.what, self.at, self.rank, self.seconds, self.most = what, at, str(rank), seconds, most
        self.calls = 0
        self.first = nn.Conv2d(in_channels, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8) if norm else nn.Identity()
        self.last = nn.Linear(8 * 64, classes)

    def forward(self, x):
        self.calls += self.training
        if self.training:
            time.sleep(self.seconds)
        here = RANK == self.rank and self.calls == self.at
        if here and self.what == "raise":
            raise ValueError("this rank has had enough")
        if here and self.what == "kill":
            os.kill(os.getpid(), 9)
        if RANK == self.rank and len(x) > self.most and self.calls >= self.at:
            if self.what == "forward" and self.training:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            if self.what == "judge" and not self.training:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        x = self.norm(self.first(x)).relu()
        if RANK == self.rank and self.what == "backward" and self.training and x.requires_grad:
            if len(x) > self.most and self.calls >= self.at:
                x.register_hook(self.refuse)
        return self.last(x.flatten(1))

    def refuse(self, gradient):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")
'''

# 50 steps: 10 epochs of 5, the last of a single image that only one of two ranks has.
SETTINGS = {
    "train.batch_total": 337,
    "train.epochs": 10,
    "train.log_every_steps": 1,
    "train.evaluate_every_epochs": 1,
    "train.save_every_epochs": 0.5,
    "optimizer.name": "adam",
    "optimizer.lr": 0.003,
    "schedule.name": "constant",
    "augment.policy": "none",
    "augment.translate": 0.1,
    "augment.mixup": 0.2,
    "hardware.precision": "fp32",
    "hardware.channels_last": False,
    "hardware.threads": 1,
    "data.val_fraction": 0.1,
}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def take_seat(rank: int, size: int, port: int) -> None:
    """Become a rank."""
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE=str(size),
        LOCAL_RANK=str(rank),
        LOCAL_WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        OMP_NUM_THREADS="1",
    )


def start_ranks(words: Sequence[str], folder: Path, size: int = 2) -> list[Child]:
    """The same command on each rank; what they say lands in `folder`, of all together."""
    port = free_port()
    return [
        Child(words, folder / f"rank-{rank}.txt", partial(take_seat, rank, size, port))
        for rank in range(size)
    ]


def run_ranks(words: Sequence[str], folder: Path, size: int = 2) -> tuple[list[int], list[str]]:
    """Exit codes, and what each rank said."""
    for path in folder.glob("rank-*.txt"):
        path.unlink()
    codes = [child.end() for child in start_ranks(words, folder, size)]
    return codes, [(folder / f"rank-{rank}.txt").read_text() for rank in range(size)]


def train_words(out: Path, model: Path, *more: str, **options: Any) -> list[str]:
    """The command that trains `Net` with its `options`; `more` follows."""
    words = ["train", "digits", "--device", "cpu", "--model", f"{model}:Net", "--quiet"]
    for name, value in SETTINGS.items():
        words += ["--set", f"{name}={value}"]
    for name, value in options.items():
        words += ["--set", f"model.options.{name}={value}"]
    return [*words, "--out", str(out), *more]


def losses(run: Path) -> dict[int, float]:
    """The training loss of each step that was logged."""
    return {e["step"]: e["train_loss"] for e in read_events(run) if "train_loss" in e}


def accuracies(run: Path) -> dict[int, float]:
    """The validation accuracy at each step that it was taken at."""
    return {e["step"]: e["val_accuracy"] for e in read_events(run) if "val_accuracy" in e}


def _take_part(target: Callable[[Path], object], folder: Path, *seat: int) -> None:
    import torch

    torch.set_num_threads(1)
    take_seat(*seat)
    target(folder)


def run_on_ranks(target: Callable[[Path], object], folder: Path, size: int = 2) -> list[int]:
    """Call a function of a test file on each rank, with `folder`; their exit codes."""
    port = free_port()
    return run_functions(
        [partial(_take_part, target, folder, rank, size, port) for rank in range(size)]
    )
