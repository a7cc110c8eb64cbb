"""Single objects out of settings: the model, the loss, the optimizer, the plan."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from torchloupe.checks.names import refuse_unknown_names
from torchloupe.config.schema import Config
from torchloupe.data.contract import Contract
from torchloupe.display.trackers import refuse_unknown_trackers
from torchloupe.errors import printable
from torchloupe.model import catalog, losses, optimizers, schedules
from torchloupe.model.backbones import load_pretrained
from torchloupe.model.catalog import make_model
from torchloupe.model.outputs import take_logits
from torchloupe.model.schedules import Plateau, make_schedule
from torchloupe.model.torch_schedulers import TorchSchedule, make_torch_schedule
from torchloupe.model.transfer import Transfer, make_transfer
from torchloupe.model.wrapping import unwrap
from torchloupe.prepare.plan import Plan, refuse_unknown_monitor
from torchloupe.prepare.run_data import RunData
from torchloupe.recipes.choice import PRETRAINED, Facts
from torchloupe.system.seeding import rng_preserved, seed_shared
from torchloupe.system.user_code import PYTHON_OBJECT, is_object_spec

ONLY_AT_THE_END = 2**62  # steps; more than any run has
SHORT_EPOCH_STEPS = 5
SIGNALS_EVERY_STEPS = 50  # a look costs about a step, so this one in fifty stays below 3 %


@dataclass(frozen=True)
class UserObjects:
    """Python objects given by the user; None if the name in the settings counts."""

    source: Any = None
    model: nn.Module | Callable[..., nn.Module] | None = None
    loss: Callable[..., Any] | None = None
    optimizer: Callable[..., Any] | None = None
    teacher: Any = None  # a Run, opened
    schedule: Any = None  # a torch scheduler: a class, partial, function of the optimizer, instance

    def without_optimizer(self) -> "UserObjects":
        """The same, with the optimizer of the settings: for trials on copies of the model."""
        return replace(self, optimizer=None)


NO_OBJECTS = UserObjects()


def refuse_misspelt(config: Config, objects: UserObjects) -> None:
    """Raises UsageError for an unknown model, loss, optimizer or metric, before images are read."""
    refuse_unknown_monitor(config.train.monitor)
    refuse_unknown_trackers(config.track)
    refuse_unknown_names(config.check.ignore)
    for given, name, refuse in (
        (objects.model, config.model.name, catalog.refuse_unknown),
        (objects.loss, config.loss.name, losses.refuse_unknown),
        (objects.optimizer, config.optimizer.name, optimizers.refuse_unknown),
        (objects.schedule, config.schedule.name, schedules.refuse_unknown),
    ):
        if given is None and name != "auto":
            refuse(name)


def build_model(config: Config, objects: UserObjects, facts: Facts) -> nn.Module:
    """The model, initialised from the seed; a module given by the user is used as it is."""
    outputs = config.model.outputs
    if isinstance(objects.model, nn.Module):
        own = unwrap(objects.model)
        return take_logits(own, facts.classes, multi_label=facts.multi_label, outputs=outputs)
    with rng_preserved():
        seed_shared(config.train.seed)
        torch.default_generator.manual_seed(config.train.seed)
        source = config.model.name if objects.model is None else objects.model
        catalog.load_named_code(source)  # which may draw, once
        seed_shared(config.train.seed)
        torch.default_generator.manual_seed(config.train.seed)
        make = network_maker(config.train.strategy)
        made = make(
            source,
            in_channels=facts.channels,
            classes=facts.classes,
            image_size=facts.size,
            options=config.model.options,
        )
        return take_logits(made, facts.classes, multi_label=facts.multi_label, outputs=outputs)


def make_for_contract(
    source: nn.Module | str | Callable[..., nn.Module], config: Config, contract: Contract
) -> nn.Module:
    """A model as `open_run` makes it, to be given its weights; a module is used as it is."""
    classes = len(contract.class_names)
    made = (
        unwrap(source)
        if isinstance(source, nn.Module)
        else network_maker(config.train.strategy)(
            source,
            in_channels=contract.channels,
            classes=classes,
            image_size=contract.size,
            options=catalog.without_weights(config.model.options),
        )
    )
    outputs = config.model.outputs
    return take_logits(made, classes, multi_label=contract.multi_label, outputs=outputs)


def load_backbone(config: Config, model: Transfer) -> list[str]:
    """Give the model's body its pretrained weights; notes on which they are."""
    origin, left_over = load_pretrained(model, config.model.name, config.model.weights)
    dropped = ", its own last layer left out" if left_over else ""
    return [f"backbone: {origin}{dropped}"]


def build_loss(config: Config, objects: UserObjects, run_data: RunData) -> losses.Loss:
    """The loss, its class weights from the training images."""
    counts = run_data.class_counts()
    return losses.make_loss(
        config.loss.name if objects.loss is None else objects.loss,
        classes=len(run_data.contract.class_names),
        multi_label=run_data.contract.multi_label,
        smoothing=config.loss.smoothing,
        weights=config.loss.weights,
        counts=None if counts is None else counts.tolist(),
        gamma=config.loss.gamma,
        options={} if isinstance(objects.loss, nn.Module) else config.loss.options,
    )


def build_optimizer(
    config: Config, objects: UserObjects, model: nn.Module
) -> torch.optim.Optimizer:
    """The optimizer over the model's trainable parameters."""
    return optimizers.make_optimizer(
        config.optimizer.name if objects.optimizer is None else objects.optimizer,
        model,
        lr=config.optimizer.lr,
        weight_decay=config.optimizer.weight_decay,
        options=config.optimizer.options,
        rates=model.rates() if isinstance(model, Transfer) else None,
    )


def describe_decay(given: Any, optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    """A note where a class or partial of the user decays weights alone, unlike by itself."""
    if not isinstance(given, (type, partial)):
        return ()
    decays = [float(group.get("weight_decay") or 0.0) for group in optimizer.param_groups]
    if not any(decays) or all(decays):
        return ()
    name = printable(type(optimizer).__name__, 60)
    return (
        f"weight decay {max(decays):g} is for weights, not for biases and norms; for all of them: "
        f"optimizer=lambda parameters: {name}(parameters, ...)",
    )


def facts_of(run_data: RunData) -> Facts:
    """The facts that recipes depend on."""
    contract = run_data.contract
    return Facts(
        train_count=run_data.train_count,
        classes=len(contract.class_names),
        channels=contract.channels,
        size=contract.size,
        own_data=run_data.pixels is None,
        multi_label=contract.multi_label,
        class_names=contract.class_names,
    )


def has_own_schedule(config: Config) -> bool:
    """Whether the schedule is a scheduler of torch, timm or the user."""
    return config.schedule.name == PYTHON_OBJECT or is_object_spec(config.schedule.name)


def build_schedule(
    config: Config, objects: UserObjects, optimizer: torch.optim.Optimizer, plan: Plan
) -> TorchSchedule | Plateau:
    """The schedule of the plan, or what a torch scheduler makes of the optimizer's groups."""
    if not has_own_schedule(config):
        return plan.schedule  # type: ignore[return-value]
    return make_torch_schedule(
        config.schedule.name if objects.schedule is None else objects.schedule,
        optimizer,
        total_steps=plan.total_steps,
        steps_per_epoch=plan.steps_per_epoch,
        every=config.schedule.every,  # type: ignore[arg-type]
        mode="min" if plan.monitor.endswith("loss") else "max",
        options=config.schedule.options,
    )


def make_plan(config: Config, per_epoch: int, loss: Any) -> Plan:
    """Every duration of the settings in steps."""
    signals_every = config.lens.signals_every_steps or SIGNALS_EVERY_STEPS
    train_config = config.train
    total = round(train_config.epochs * per_epoch)
    total = max(1, total) if train_config.strategy != "head" else 0
    log_every = train_config.log_every_steps or choose_log_every(per_epoch, total)
    options = {} if has_own_schedule(config) else dict(config.schedule.options)
    if config.schedule.name == "plateau" and train_config.monitor.endswith("loss"):
        options.setdefault("mode", "min")
    return Plan(
        total_steps=total,
        steps_per_epoch=per_epoch,
        loss=loss,
        schedule=make_schedule(
            "constant" if has_own_schedule(config) else config.schedule.name,
            warmup_fraction=config.schedule.warmup_fraction,
            total_steps=max(1, total),
            options=options,
        ),
        seed=train_config.seed,
        micro_batches=train_config.micro_batches,
        clip_norm=train_config.clip_norm,
        log_every=log_every,
        signals_every=-(-signals_every // log_every) * log_every if config.lens.signals else 0,
        evaluate_every=steps_of(train_config.evaluate_every_epochs, per_epoch),
        save_every=train_config.save_every_steps
        or steps_of(train_config.save_every_epochs, per_epoch),
        monitor=train_config.monitor,
        patience=train_config.patience,
        bad_steps=train_config.bad_steps,
    )


def choose_log_every(per_epoch: int, total: int) -> int:
    """Steps between two log lines: about twenty an epoch, or a run if that is shorter.

    Where epochs are short, up to five steps, so that a run has a hundred lines: each sums up the
    weights, which costs as much as a tenth of a small step.
    """
    every = max(1, min(per_epoch, total) // 20)
    return max(every, min(SHORT_EPOCH_STEPS, per_epoch // 4, total // 100))


def steps_of(epochs: float, steps_per_epoch: int) -> int:
    """Epochs in steps; 0 means once, at the end."""
    return max(1, round(epochs * steps_per_epoch)) if epochs else ONLY_AT_THE_END


def network_maker(strategy: str) -> Callable[..., nn.Module]:
    """The function that builds the network: `make_model`, or `make_transfer` for a backbone."""
    return make_transfer if strategy in PRETRAINED else make_model
