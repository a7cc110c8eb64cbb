"""A budget in minutes, from the start of a command to its end.

Training gets what the preparation and the final test leave.
"""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from torchloupe.config.settings import Settings
from torchloupe.data.feeds.feed import Batch, Feed
from torchloupe.evaluation.scoring import evaluate
from torchloupe.hardware.device import wait_for
from torchloupe.hardware.memory import MicroBatchLimit, is_out_of_memory, shrink_micro_batches
from torchloupe.hardware.precision import Precision
from torchloupe.hardware.step import LossFunction, forward_backward
from torchloupe.lens.copies import copy_model
from torchloupe.model.losses import Loss
from torchloupe.model.norms import steady_norms
from torchloupe.prepare.run_data import RunData, TrainingFeed
from torchloupe.recipes.choice import Facts
from torchloupe.speed.choice import measuring_seconds, open_variants, time_step
from torchloupe.speed.trial import MakeOptimizer

LEAST_FRACTION = 0.5  # of the budget is for training, however long the preparation took
WRITING_SECONDS = 2.0  # the last checkpoint, metrics, tables and the report, about
FEW_EPOCHS = 3.0  # with fewer, a narrower network is more accurate (docs/LOG.md)
NARROW: dict[str, Any] = {"model.options": {"width": 16, "last": 2}}
TIMED_STEPS = 200  # at most, to estimate the epochs that fit into the budget
TIMED_IMAGES = 512  # of an evaluation
TIMED_SAMPLES = 64  # of a Dataset, whose items may be slow


@dataclass(frozen=True)
class Budget:
    """A budget in seconds, and the part of it that is not for training."""

    seconds: float
    began: float  # `time.perf_counter()` when the command, or the call, began
    validation: float  # seconds that one evaluation of the validation images takes
    ending: float  # seconds from the last step to the end

    def left(self) -> float:
        """Seconds left for training; LEAST_FRACTION of the budget at least."""
        return max(LEAST_FRACTION * self.seconds, self._rest())

    def notes(self) -> list[str]:
        """A note if preparation and testing take too much of the budget."""
        if self._rest() >= LEAST_FRACTION * self.seconds:
            return []
        return [
            "preparation and the final test take more than half of the given minutes: training "
            "gets half of them, and the command takes longer"
        ]

    def _rest(self) -> float:
        return self.seconds - (time.perf_counter() - self.began) - self.ending


def plan_budget(
    minutes: float, began: float, model: nn.Module, run_data: RunData, precision: Precision
) -> Budget:
    """The budget of a run; the time of its evaluations is measured on a few images."""
    image = time_evaluation(model, run_data, precision)
    val, test = len(run_data.splits.val), len(run_data.splits.test)
    # After the last step val is evaluated once more, then both splits with all metrics.
    return Budget(60 * minutes, began, val * image, (2 * val + test) * image + WRITING_SECONDS)


def time_evaluation(model: nn.Module, run_data: RunData, precision: Precision) -> float:
    """Seconds to evaluate one image, in batches; 0 if there is nothing to evaluate."""
    split = next((name for name in ("val", "test") if len(run_data.rows(name))), None)
    if split is None:
        return 0.0
    count = TIMED_SAMPLES if run_data.pixels is None else TIMED_IMAGES
    rows = run_data.rows(split)[:count]
    start = time.perf_counter()
    evaluate(model, run_data.scan_rows(rows, precision.device, split), precision=precision)
    return (time.perf_counter() - start) / len(rows)


def choose_network(
    settings: Settings,
    facts: Facts,
    began: float,
    model: nn.Module,
    loss: Loss,
    batch: Batch,
) -> dict[str, Any]:
    """Settings for a narrower network if `model` would see too few images in the time.

    Only if no network was asked for and minutes were given. Times some steps of `model`.
    """
    config = settings.config
    is_open = config.model.name == "residual" and settings.origin("model.name") == "recipe"
    if not is_open or config.model.options or config.train.epochs or not config.train.minutes:
        return {}
    variants = open_variants(settings, batch.images.device)
    variant = next((variant for variant in variants if variant.precision == "bf16"), variants[0])
    seconds = 60 * config.train.minutes - (time.perf_counter() - began)
    images = seconds * len(batch) / time_step(model, loss, batch, variant)
    if images >= FEW_EPOCHS * facts.train_count:
        return {}
    return dict(NARROW)


def guess_epochs(
    budget: Budget,
    model: nn.Module,
    feed: TrainingFeed,
    loss: LossFunction,
    make_optimizer: MakeOptimizer,
    precision: Precision,
) -> float:
    """How many epochs, evaluations included, fit into the rest of `budget`.

    Times real steps on a copy of the model; the loop corrects the estimate as it goes.
    """
    allowed = measuring_seconds(budget.seconds)
    step = time_steps(copy_model(model), feed, loss, make_optimizer, precision, allowed)
    epochs = budget.left() / (step * feed.steps_per_epoch + budget.validation)
    return max(epochs, 1 / feed.steps_per_epoch)


def time_steps(
    model: nn.Module,
    feed: Feed,
    loss: LossFunction,
    make_optimizer: MakeOptimizer,
    precision: Precision,
    allowed: float,
) -> float:
    """Seconds of a training step, reading its batch included; `model` is trained."""
    optimizer, device, micro_limit = make_optimizer(model), precision.device, MicroBatchLimit()
    began, start, timed = time.perf_counter(), 0.0, 0
    model.train()
    for number, batch in enumerate(feed.batches()):
        if number == 2:  # the first steps also set things up
            wait_for(device)
            start = time.perf_counter()
        if not _take_step(model, batch, loss, optimizer, precision, micro_limit):
            continue
        timed = number - 1
        if timed >= 1 and (time.perf_counter() - began > allowed or timed >= TIMED_STEPS):
            break
    wait_for(device)
    return (time.perf_counter() - start) / timed


def _take_step(
    model: nn.Module,
    batch: Batch,
    loss: LossFunction,
    optimizer: torch.optim.Optimizer,
    precision: Precision,
    micro_limit: MicroBatchLimit,
) -> bool:
    """Take one step; False if memory ran out, after shrinking `micro_limit`."""
    count = micro_limit.count(len(batch))
    try:
        for micro, weight in batch.micro(count):
            images, labels = micro.images, micro.labels
            with steady_norms(model, images):
                value = forward_backward(model, images, labels, loss, precision, weight)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        shrink_micro_batches(micro_limit, -(-len(batch) // count), str(error))
        optimizer.zero_grad(set_to_none=True)
        return False
    precision.step(optimizer, value)
    return True
