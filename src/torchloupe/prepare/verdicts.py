"""Verdicts on a run that is about to begin: on its data, its model, its loss and its optimizer."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from torchloupe.checks.batches import IMAGES
from torchloupe.checks.data import DataEvidence, check_data
from torchloupe.checks.examination import examine
from torchloupe.checks.learning import Clock
from torchloupe.checks.subject import Subject, isolated
from torchloupe.checks.verdicts import refuse_errors, sift
from torchloupe.config.schema import CheckConfig
from torchloupe.config.settings import Settings
from torchloupe.data.feeds.feed import Batch
from torchloupe.errors import DataError
from torchloupe.model.catalog import ZOO
from torchloupe.model.losses import Loss
from torchloupe.model.transfer import Transfer
from torchloupe.prepare.objects import UserObjects, build_optimizer
from torchloupe.prepare.plan import Plan
from torchloupe.prepare.run_data import RunData, ShardedData
from torchloupe.run.events import Event, Verdict
from torchloupe.run.listener import Listener
from torchloupe.system.user_code import is_object_spec

MOST_SECONDS = 10.0  # for trial steps, of a long run


def tell(event: Event, listeners: Sequence[Listener]) -> None:
    """Let each of the listeners hear of `event`."""
    for listener in listeners:
        listener.record(event)


def judge_data(run_data: RunData, config: CheckConfig, *, thorough: bool = False) -> list[Verdict]:
    """The verdicts on the data that are to be told; see `check_data`."""
    if config.level == "off":
        return []
    evidence = DataEvidence(
        samples=run_data.samples,
        splits=run_data.splits,
        contract=run_data.contract,
        pixels=run_data.pixels,
        read=run_data.scan_rows,
        source=run_data.source,
    )
    try:
        found = check_data(evidence, thorough=thorough)
    except DataError:
        if not isinstance(run_data, ShardedData):
            raise
        # One of the images looked at can't be decoded; it is named when its turn comes.
        found = check_data(replace(evidence, pixels=None), thorough=thorough)
    return sift(found, config)


def judge_model(
    settings: Settings,
    run_data: RunData,
    objects: UserObjects,
    model: nn.Module,
    loss: Loss,
    batch: Batch,
    clock: Clock,
) -> list[Verdict]:
    """The verdicts on model, loss and optimizer that are to be told; all of them stay as they are.

    `batch` is taken as it is; 16 images of several classes tell most.
    """
    config = settings.config
    if config.check.level == "off" or config.train.strategy == "head":
        return []
    with isolated(batch.images.device):
        optimizer = build_optimizer(config, objects, model)
        subject = Subject(
            model,
            loss,
            batch.images,
            batch.labels,
            optimizer,
            classes=len(run_data.contract.class_names),
            loss_name=loss.name,
        )
        return sift(examine(subject, batch.labels, clock), config.check)


def judge_start(
    settings: Settings, run_data: RunData, objects: UserObjects, model: nn.Module, plan: Plan
) -> list[Verdict]:
    """The verdicts on what a new run is about to train with, in a small part of its time."""
    if settings.config.check.level == "off" or is_known(settings, objects, model):
        return []
    device = next(model.parameters()).device
    batch = next(iter(run_data.scan_rows(run_data.some_rows(IMAGES), device)))
    clock = Clock.of(MOST_SECONDS)
    clock.run_steps = plan.total_steps * settings.config.train.batch_total / len(batch)
    assert isinstance(plan.loss, Loss)
    return judge_model(settings, run_data, objects, model, plan.loss, batch, clock)


def is_known(settings: Settings, objects: UserObjects, model: nn.Module) -> bool:
    """Whether model, loss and learning rate are this package's own, which need no trial."""
    is_own = type(model) in ZOO.values() or isinstance(model, Transfer)
    is_typed = settings.origin("optimizer.lr") == "typed"
    names = (settings.config.loss.name, settings.config.optimizer.name)
    is_given = objects.loss is not None or objects.optimizer is not None
    return is_own and not is_given and not any(map(is_object_spec, names)) and not is_typed


def refuse(verdicts: Sequence[Verdict], config: CheckConfig, listeners: Sequence[Listener]) -> None:
    """VerdictError for an error in strict mode; the listeners hear of all verdicts before."""
    try:
        refuse_errors(verdicts, config)
    except Exception:
        for verdict in verdicts:
            tell(verdict, listeners)
        raise
