"""The plan of a run: every duration turned into steps, once, and frozen."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from torchloupe.errors import UsageError, did_you_mean, printable
from torchloupe.model.torch_schedulers import TorchSchedule

MONITORED = ("val_accuracy", "val_loss")  # what each evaluation of a run measures


class RateSchedule(Protocol):
    """What the loop needs of a schedule: the multiplier of the base learning rate at a step."""

    def factor(self, step: int, total_steps: int) -> float: ...


@dataclass(frozen=True)
class Plan:
    """What the loop does and when; counts are optimizer steps."""

    total_steps: int
    steps_per_epoch: int
    loss: Callable[..., Tensor]  # of logits, labels, and a teacher's logits if there is one
    schedule: RateSchedule
    seed: int
    micro_batches: int = 1
    clip_norm: float = 0.0
    log_every: int = 50
    signals_every: int = 0  # a multiple of log_every; 0 is off
    evaluate_every: int = 0
    save_every: int = 0
    monitor: str = "val_accuracy"
    patience: int = 0
    bad_steps: int = 10
    seconds: float = 0.0  # a budget of training time; 0: `total_steps` stays as it is

    def set_lr(self, optimizer: torch.optim.Optimizer, step: int, total_steps: int) -> float:
        """Set every group's rate for the next step, after `step` of them; gives the first one's."""
        if isinstance(self.schedule, TorchSchedule):
            return self.schedule.set_groups(optimizer, step)
        factor = self.schedule.factor(step, total_steps)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        return float(optimizer.param_groups[0]["lr"])

    def fit_steps(self, step: int, seconds: float) -> int:
        """The last step: where a budget of time ends, when `step` of them took `seconds`."""
        if not self.seconds or not step:
            return self.total_steps
        return max(step, round(step * self.seconds / max(seconds, 1e-9)))

    def is_better(self, value: float, best: float | None) -> bool:
        """Whether `value` of the monitored metric is better than `best`: lower for a loss."""
        if best is None:
            return True
        return value < best if self.monitor.endswith("loss") else value > best


def refuse_unknown_monitor(name: str) -> None:
    """UsageError for a `train.monitor` that no evaluation measures."""
    if name not in MONITORED:
        raise UsageError(
            f"train.monitor is {printable(name)!r}; an evaluation measures "
            + " and ".join(MONITORED),
            did_you_mean(name, MONITORED, f"use --set train.monitor={MONITORED[0]}"),
        )
