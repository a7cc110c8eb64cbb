"""What is decided by measurement: number format, memory format, threads, width, epochs.

The only part of the preparation that measures time. It runs real steps of the run's own model on
its own images, and gives settings; nothing that it does changes the model or the generators.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import nn

from torchloupe.checks.adding import settle_adding
from torchloupe.checks.trial import bring_to_life, try_model
from torchloupe.config.schema import Config
from torchloupe.config.settings import Settings
from torchloupe.data.augmentation.augment import Augment
from torchloupe.data.feeds.feed import Batch
from torchloupe.hardware.layout import set_memory_format
from torchloupe.hardware.precision import Precision
from torchloupe.model.losses import Loss
from torchloupe.model.norms import refuse_lone_images
from torchloupe.model.outputs import describe_outputs
from torchloupe.model.signature import labels_taken
from torchloupe.model.transfer import Transfer
from torchloupe.prepare.budget import Budget, choose_network, guess_epochs, plan_budget
from torchloupe.prepare.features import choose_feature_format
from torchloupe.prepare.objects import (
    UserObjects,
    build_model,
    build_optimizer,
    facts_of,
    load_backbone,
)
from torchloupe.prepare.run_data import RunData
from torchloupe.recipes.choice import fill_in
from torchloupe.run.events import Chosen
from torchloupe.run.own_state import left_alone
from torchloupe.speed.choice import choose_speed, refuse_format, repeat_batch

FORMAT_IMAGES = 8  # that number formats are compared on
RESUME_IMAGES = 8  # that are read at a resume, where nothing is measured: see prepare/spare


@dataclass(frozen=True)
class Measured:
    """The settings with nothing left open, and the model that fits them."""

    settings: Settings
    model: nn.Module
    precision: Precision
    budget: Budget | None  # where a time, not a number of epochs, was given
    notes: tuple[str, ...]


def settle(open_settings: Settings, run_data: RunData, measured: Mapping[str, Any]) -> Settings:
    """The settings with every choice made: first what was measured, then the recipe's.

    A pure function: a recipe's choices may depend on what was measured (augmentation on epochs).
    """
    return fill_in(open_settings.with_measured(measured), facts_of(run_data))


def measure(
    open_settings: Settings,
    run_data: RunData,
    objects: UserObjects,
    loss: Loss,
    *,
    device: torch.device,
    ranks: int,
    began: float,
    is_new: bool,
) -> Measured:
    """Settle what is open, by measurements on some real images where they pay.

    `is_new`: the run begins now, so a backbone gets its pretrained weights. A budget in minutes
    counts from `began` (`time.perf_counter()`).
    """
    settings = settle(open_settings, run_data, {})
    share = -(-settings.config.train.batch_total // ranks)
    looked_at = run_data.some_rows(share if is_new else min(share, RESUME_IMAGES))
    batch = next(iter(run_data.scan_rows(looked_at, device)))
    trial = repeat_batch(batch, share)
    model = build_model(settings.config, objects, facts_of(run_data)).to(device)
    with left_alone(model, loss):
        found = choose_network(settings, facts_of(run_data), began, model, loss, trial)
    if found:
        settings = settle(open_settings, run_data, found)
        model = build_model(settings.config, objects, facts_of(run_data)).to(device)
    is_loaded = is_new and isinstance(model, Transfer)
    notes = load_backbone(settings.config, cast("Transfer", model)) if is_loaded else []
    model.train()  # one in eval mode may have merged weights, which its state dict would keep
    hook = loss.follow(model).hook
    bring_to_life(model, batch.images, facts_of(run_data).classes, settings.config.train.seed)
    with left_alone(model, loss):
        tried = try_model(model, loss, batch, facts_of(run_data).classes, settings)
        parts = settings.config.train.micro_batches
        if is_new:
            refuse_lone_images(model, batch.images, -(-share // parts))
        notes += settle_adding(loss, batch.labels, parts, ranks)
        open_settings = open_settings.with_measured(tried.settings)
        notes += [*tried.notes, *note_labels(model)]
        notes += tried.doubts if settings.config.check.level == "off" else []
        notes += describe_outputs(hook, run_data.contract.class_names)
        found |= tried.settings
        settings = settle(open_settings, run_data, found)
        still_open = replace(open_settings, config=settings.config)  # a measurement may overrule
        chosen, why = _choose_format(still_open, run_data, objects, model, loss, trial)
        found |= chosen
        settings = settle(open_settings, run_data, found)
        set_threads(settings.config)
        precision = Precision(settings.config.hardware.precision, device)
        set_memory_format(model, bool(settings.config.hardware.channels_last))
        if settings.config.hardware.compile:
            model.compile()
        budget = _open_budget(settings, run_data, model, precision, began)
        if budget and not (train := settings.config.train).epochs:
            feed = run_data.feed(train.batch_total, train.seed, Augment(), device)
            make_optimizer = partial(build_optimizer, settings.config, objects.without_optimizer())
            epochs = guess_epochs(budget, model, feed, loss, make_optimizer, precision)
            settings = settle(open_settings, run_data, {**found, "train.epochs": epochs})
        return Measured(settings, model, precision, budget, (*notes, *map(Chosen, why)))


def _choose_format(
    settings: Settings,
    run_data: RunData,
    objects: UserObjects,
    model: nn.Module,
    loss: Loss,
    trial: Batch,
) -> tuple[dict[str, Any], list[str]]:
    """Number format, memory format and threads; and a line that says why."""
    config = settings.config
    if isinstance(model, Transfer) and config.train.strategy == "head":
        return choose_feature_format(settings, model, repeat_batch(trial, FORMAT_IMAGES))
    refuse_format(settings, model, loss, trial)
    make_optimizer = partial(build_optimizer, config, objects.without_optimizer())
    steps_per_epoch = run_data.train_count // config.train.batch_total
    return choose_speed(settings, model, loss, make_optimizer, trial, steps_per_epoch)


def note_labels(model: nn.Module) -> list[str]:
    """A note for a forward that takes labels too, as those of margin softmaxes do."""
    name = labels_taken(model)
    if not name:
        return []
    return [f"forward takes {name!r}, which are not passed: put the margin into the loss"]


def _open_budget(
    settings: Settings, run_data: RunData, model: nn.Module, precision: Precision, began: float
) -> Budget | None:
    """The budget in minutes, where minutes and no epochs were given."""
    train = settings.config.train
    if not train.minutes or (train.epochs and settings.origin("train.epochs") != "measured"):
        return None
    return plan_budget(train.minutes, began, model, run_data, precision)


def set_threads(config: Config) -> None:
    """Let torch use the number of threads that the settings say."""
    if config.hardware.threads:
        torch.set_num_threads(config.hardware.threads)
