"""A budget in minutes, from the first moment of a command to its last.

What preparing took and what the last tests will take is taken off; training gets the rest.
"""

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from torchloupe.config import Config
from torchloupe.data.feed import Batch, PixelFeed
from torchloupe.data.loader import LoaderFeed
from torchloupe.data.stream import Stream
from torchloupe.evaluation import evaluate
from torchloupe.hardware.device import wait_for
from torchloupe.hardware.memory import Portions, is_out_of_memory, make_room
from torchloupe.hardware.precision import Precision
from torchloupe.loop import Feed
from torchloupe.materials import Materials
from torchloupe.model.losses import Loss
from torchloupe.probe import LossFunction, MakeOptimizer
from torchloupe.recipes import Facts
from torchloupe.settings import Source
from torchloupe.speed import measuring_seconds, open_ways, time_step

LEAST_SHARE = 0.5  # of the budget that training gets, however long preparing took
WRITING_SECONDS = 0.7  # the last checkpoint, metrics and tables, about
FEW_EPOCHS = 3.0  # with fewer, a narrower network gets further (docs/LOG.md)
NARROW: dict[str, Any] = {"model.options": {"width": 16, "last": 2}}
TIMED_STEPS = 200  # at most, for finding out how many epochs fit into the budget
TIMED_IMAGES = 512  # of an evaluation
TIMED_SAMPLES = 64  # where each comes from a Dataset of the user's, which may take its time


@dataclass(frozen=True)
class Budget:
    """The seconds that a person gave, and what of them is not for training."""

    seconds: float
    began: float  # `time.perf_counter()` when the command, or the call, began
    validation: float  # seconds that one evaluation of the validation images takes
    ending: float  # seconds from the last step to the end

    def left(self) -> float:
        """Seconds for training from now on; LEAST_SHARE of the budget where less is left."""
        return max(LEAST_SHARE * self.seconds, self._rest())

    def notes(self) -> list[str]:
        """What to say where preparing and testing take more than they may."""
        if self._rest() >= LEAST_SHARE * self.seconds:
            return []
        return [
            "preparing and the last tests take more than half of the minutes given: training gets "
            "the other half, and the whole takes longer"
        ]

    def _rest(self) -> float:
        return self.seconds - (time.perf_counter() - self.began) - self.ending


def plan_budget(
    minutes: float, began: float, model: nn.Module, materials: Materials, precision: Precision
) -> Budget:
    """The budget of a run, with what its evaluations will take, as measured on a few images."""
    image = time_evaluation(model, materials, precision)
    val, test = len(materials.splits.val), len(materials.splits.test)
    # After the last step val is judged once more, and then both once with all their scores.
    return Budget(60 * minutes, began, val * image, (2 * val + test) * image + WRITING_SECONDS)


def time_evaluation(model: nn.Module, materials: Materials, precision: Precision) -> float:
    """Seconds to evaluate one image, in batches; 0 where there is nothing to evaluate."""
    part = next((part for part in ("val", "test") if len(materials.rows(part))), None)
    if part is None:
        return 0.0
    count = TIMED_SAMPLES if materials.pixels is None else TIMED_IMAGES
    rows = materials.rows(part)[:count]
    start = time.perf_counter()
    evaluate(model, materials.scan_rows(rows, precision.device, part), precision=precision)
    return (time.perf_counter() - start) / len(rows)


def choose_network(
    config: Config,
    sources: Mapping[str, Source],
    facts: Facts,
    began: float,
    model: nn.Module,
    loss: Loss,
    batch: Batch,
) -> dict[str, Any]:
    """Settings for a narrower network where the usual one, `model`, would see too few images.

    Only where nobody asked for a network, and minutes decide. Times some steps of `model`.
    """
    is_open = config.model.name == "residual" and sources["model.name"] == "recipe"
    if not is_open or config.model.options or config.train.epochs or not config.train.minutes:
        return {}
    ways = open_ways(config, sources, batch.images.device)
    way = next((way for way in ways if way.precision == "bf16"), ways[0])
    seconds = 60 * config.train.minutes - (time.perf_counter() - began)
    images = seconds * len(batch) / time_step(model, loss, batch, way)
    if images >= FEW_EPOCHS * facts.train_count:
        return {}
    return dict(NARROW)


def guess_epochs(
    budget: Budget,
    model: nn.Module,
    feed: PixelFeed | LoaderFeed | Stream,
    loss: LossFunction,
    make_optimizer: MakeOptimizer,
    precision: Precision,
) -> float:
    """How many epochs, evaluations included, fit into what is left of `budget`.

    Times real steps on a copy of the model. The loop corrects the guess as it goes.
    """
    allowed = measuring_seconds(budget.seconds)
    step = time_steps(copy.deepcopy(model), feed, loss, make_optimizer, precision, allowed)
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
    """Seconds of a step of training, the reading of its batch included; `model` is trained."""
    optimizer, device, portions = make_optimizer(model), precision.device, Portions()
    began, start, timed = time.perf_counter(), 0.0, 0
    model.train()
    for number, batch in enumerate(feed.batches()):
        if number == 2:  # the first steps also set things up
            wait_for(device)
            start = time.perf_counter()
        if not _take_step(model, batch, loss, optimizer, precision, portions):
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
    portions: Portions,
) -> bool:
    """One step; False where memory ran out, and `portions` are smaller from now on."""
    parts = portions.count(len(batch))
    try:
        for micro, weight, _ in batch.micro(parts):
            with precision.autocast():
                value = loss(model(micro.images), micro.labels) * weight
            precision.backward(value)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        make_room(portions, -(-len(batch) // parts), str(error))
        optimizer.zero_grad(set_to_none=True)
        return False
    precision.step(optimizer, value.detach())
    return True
