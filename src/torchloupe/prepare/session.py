"""From settings to a session: data, model, loss, optimizer and plan, ready for the loop.

Four stages, each from value to value: open the data, settle what is open by the recipe and by
measurements, make the objects of this rank, and join the ranks. Everything that can be refused is
refused here, before a run folder is made.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from torchloupe.config.schema import Config
from torchloupe.config.settings import Settings
from torchloupe.data.augmentation.augment import Augment
from torchloupe.data.contract import Contract
from torchloupe.distributed.parallel import Parallel, make_parallel
from torchloupe.distributed.rank import find_rank
from torchloupe.distributed.world import ALONE, World, join
from torchloupe.errors import LoupeError, UsageError
from torchloupe.hardware.device import DeviceChoice, choose_device, count_gpus
from torchloupe.hardware.precision import Precision, choose_precision
from torchloupe.lens.watch import watch
from torchloupe.model.muon import Muon
from torchloupe.model.optimizers import make_average
from torchloupe.model.schedules import Plateau
from torchloupe.model.torch_schedulers import TorchSchedule
from torchloupe.prepare.budget import Budget
from torchloupe.prepare.data import open_source, prepare_data
from torchloupe.prepare.loader_settings import follow_loader, refuse_unused
from torchloupe.prepare.machine import decide_by_machine
from torchloupe.prepare.measured import measure, set_threads, settle
from torchloupe.prepare.objects import (
    UserObjects,
    build_loss,
    build_optimizer,
    build_schedule,
    describe_decay,
    has_own_schedule,
    make_plan,
    refuse_misspelt,
)
from torchloupe.prepare.plan import Plan
from torchloupe.prepare.run_data import RunData, TrainingFeed
from torchloupe.prepare.spare import Spare, compare_spare, keep_spare
from torchloupe.prepare.strategy import Decision, decide_strategy
from torchloupe.prepare.teacher import Teacher
from torchloupe.prepare.verdicts import judge_data, judge_start, refuse
from torchloupe.recipes.choice import PRETRAINED, explain_imbalance
from torchloupe.run.events import Announcement, Event, Progress, Verdict
from torchloupe.run.listener import Listener
from torchloupe.run.own_state import OwnState
from torchloupe.run.state import State
from torchloupe.system.heap import keep_freed_blocks
from torchloupe.system.user_code import (
    is_from_named_code,
    load_object,
    naming_errors,
    refuse_failure,
)


@dataclass(frozen=True)
class Prepared:
    """What every rank makes by itself."""

    settings: Settings
    run_data: RunData
    feed: TrainingFeed
    place: DeviceChoice
    precision: Precision
    plan: Plan
    model: nn.Module
    notes: tuple[str, ...] = ()  # on the data, and on what was chosen and why
    verdicts: tuple[Verdict, ...] = ()  # of the checks of a new run
    budget: Budget | None = None  # where a time, not a number of epochs, was given

    @property
    def config(self) -> Config:
        """The values of the settings."""
        return self.settings.config


@dataclass(frozen=True)
class Session(Prepared):
    """A run ready to be trained, its model joined with those of the other ranks."""

    parallel: Parallel = field(kw_only=True)
    state: State = field(kw_only=True)
    spare: Spare = field(kw_only=True)
    teacher: Teacher | None = field(default=None, kw_only=True)

    def plan_now(self) -> Plan:
        """The plan; of a budget in minutes, training gets all that is left at this moment."""
        loss = self.plan.loss if self.teacher is None else self.teacher.loss
        if self.budget is None:
            return replace(self.plan, loss=loss)
        return replace(self.plan, loss=loss, seconds=self.parallel.world.first(self.budget.left()))


@contextmanager
def join_ranks(config: Config) -> Iterator[World]:
    """The world that torchrun started this process in, or of this process alone.

    What a model or dataset of the user raises in one of several ranks becomes a UsageError here,
    so that all of them end with its exit code.
    """
    place = choose_device(config.hardware.device, find_rank())
    with join(place.device, config.hardware.timeout_seconds) as world:
        try:
            yield world
        except Exception as error:
            if world.size == 1 or isinstance(error, LoupeError) or not is_from_named_code(error):
                raise
            raise refuse_failure(error, "your own code") from error


def refuse_missing_ranks(config: Config) -> None:
    """UsageError if several processes are asked for that nobody started."""
    if config.hardware.gpus != "1" and config.hardware.parallel != "dp" and find_rank() is None:
        raise UsageError(
            f"hardware.gpus={config.hardware.gpus} needs a process for each GPU, and this is one",
            "start the script with torchrun --nproc-per-node N, or use hardware.parallel=dp",
        )


def prepare_session(
    settings: Settings,
    objects: UserObjects,
    listeners: Sequence[Listener] = (),
    contract: Contract | None = None,
    world: World = ALONE,
    began: float | None = None,
) -> Session:
    """Open the data, make the model and everything around it, and try one forward.

    `contract` is that of a run to resume; else it is made from the data. Every rank must call
    this: rank 0 decides what is open while the others wait. A budget in minutes counts from
    `began` (`time.perf_counter()`), or from now.
    """
    began = time.perf_counter() if began is None else began
    spare = keep_spare(objects.model)
    settings = settle_layout(settings, world)
    if world.leads:
        with world.others_told():
            prepared = prepare_rank(settings, objects, listeners, contract, world, began)
        world.first((prepared.settings.closed(), prepared.run_data.contract))
    else:
        decided: tuple[Settings, Contract] = world.first(None)
        prepared = prepare_rank(decided[0], objects, (), decided[1], world, began)
    return attach_ranks(prepared, objects, world, spare)


def prepare_rank(
    settings: Settings,
    objects: UserObjects,
    listeners: Sequence[Listener],
    contract: Contract | None,
    world: World,
    began: float,
) -> Prepared:
    """What this rank needs of a run; everything that can be refused is refused here."""
    keep_freed_blocks()
    place = choose_device(settings.config.hardware.device, world.launched)
    name, _ = choose_precision(settings.config.hardware.precision, place.device)
    Precision(name, place.device)  # refuses what the device can't do
    if settings.config.hardware.deterministic:
        torch.use_deterministic_algorithms(True)
    settings = settings.with_default({"hardware.precision": name})

    decision, run_data = open_run_data(settings, objects, listeners, contract, world)
    decision = decide_by_machine(decision, objects, run_data, place.device, is_new=contract is None)
    config = settle(decision.settings, run_data, {}).config
    set_threads(config)
    verdicts = judge_data(run_data, config.check) if contract is None else []
    refuse(verdicts, config.check, listeners)
    loss = build_loss(config, objects, run_data).to(place.device)
    measured = measure(
        decision.settings,
        run_data,
        objects,
        loss,
        device=place.device,
        ranks=world.size,
        began=began,
        is_new=contract is None,
    )
    config = measured.settings.config
    refuse_epochs(config, world)
    with watching(config, measured.model):
        pass  # refuses a hook or layers that do not exist
    augment = Augment.from_settings(config.augment)
    feed = run_data.feed(config.train.batch_total, config.train.seed, augment, place.device)
    plan = make_plan(config, feed.steps_per_epoch, loss)
    if contract is None:
        started = judge_start(measured.settings, run_data, objects, measured.model, plan)
        refuse(started, config.check, listeners)
        verdicts += started
    return Prepared(
        settings=measured.settings,
        run_data=run_data,
        feed=feed,
        place=place,
        precision=measured.precision,
        plan=plan,
        model=measured.model,
        notes=(
            *(*run_data.notes, *decision.notes, *note_imbalance(config, run_data)),
            *(*measured.notes, *(measured.budget.notes() if measured.budget else ())),
        ),
        verdicts=tuple(verdicts),
        budget=measured.budget,
    )


def open_run_data(
    settings: Settings,
    objects: UserObjects,
    listeners: Sequence[Listener],
    contract: Contract | None,
    world: World,
) -> tuple[Decision, RunData]:
    """What is trained from these data, and the data, opened and decoded.

    The listeners hear of long work. With a `contract` the decision stands in the settings already.
    """

    def record(event: Event) -> None:
        for listener in listeners:
            listener.record(event)

    refuse_misspelt(settings.config, objects)
    source, decision = objects.source, Decision(settings)
    if contract is None:
        source = open_source(settings.config.data, source)
        settings = follow_loader(settings, source)
        decision = decide_strategy(settings, source, objects.model is not None)
    config = decision.settings.config
    run_data = prepare_data(
        source,
        config.data,
        seed=config.train.seed,
        contract=contract,
        input_spec=decision.input_spec,
        progress=lambda done, total: record(Progress("pack", done, total)),
        announce=lambda text: record(Announcement(text)),
        world=world,
    )
    if contract is None:
        refuse_unused(settings, run_data)
    return decision, run_data


def note_imbalance(config: Config, run_data: RunData) -> list[str]:
    """What to know where some classes have many more images than others; else nothing."""
    counts = None if run_data.contract.multi_label else run_data.class_counts()
    if counts is None:
        return []
    uneven = explain_imbalance(config, run_data.contract.class_names, counts.tolist())
    return [uneven] if uneven else []


def refuse_epochs(config: Config, world: World) -> None:
    """UsageError if strategy, epochs and ranks contradict each other."""
    strategy, epochs = config.train.strategy, config.train.epochs
    if strategy == "head" and epochs:
        raise UsageError(
            f"strategy head fits the last layer and trains no epochs, but {epochs:g} were given",
            "leave the epochs out, or say --strategy finetune",
        )
    if strategy != "head" and not epochs:
        raise UsageError(
            "train.epochs is 0, which trains nothing", "give epochs or minutes above 0"
        )
    if strategy in PRETRAINED and world.size > 1 and config.hardware.parallel == "fsdp":
        raise UsageError(
            f"strategy {strategy} needs the whole backbone on each GPU, and fsdp shards it",
            "leave hardware.parallel at ddp",
        )


def settle_layout(settings: Settings, world: World) -> Settings:
    """The settings with contiguous weights where FSDP2 shards them; it shards no others."""
    if world.size == 1 or settings.config.hardware.parallel != "fsdp":
        return settings
    name = "hardware.channels_last"
    if settings.config.hardware.channels_last is False:
        return settings
    if settings.origin(name) == "typed" and settings.config.hardware.channels_last is True:
        raise UsageError(
            f"{name}=true was asked for, and fsdp shards only weights that are contiguous",
            f"leave {name} out, or use --parallel ddp",
        )
    return settings.with_measured({name: False})


def attach_ranks(
    prepared: Prepared, objects: UserObjects, world: World, spare: Spare | None
) -> Session:
    """Join the models of all ranks, and make what depends on their weights.

    Every rank must call this.
    """
    config, model, device = prepared.config, prepared.model, prepared.place.device
    spare, notes = compare_spare(spare, model, config, prepared.run_data, device)
    kind, is_gpu = config.hardware.parallel, device.type == "cuda"
    count = count_gpus(config.hardware.gpus) if kind == "dp" and is_gpu else 0
    devices = [torch.device("cuda", number) for number in range(count)]
    parallel = make_parallel(model, world, kind, devices)
    if config.train.average and parallel.is_sharded:
        raise UsageError(
            "averaged weights can't be kept for a model that is sharded over the ranks",
            "use --parallel ddp, or --set train.average=0",
        )
    optimizer = build_optimizer(config, objects, model)
    notes += describe_decay(objects.optimizer, optimizer)
    if isinstance(optimizer, Muon) and parallel.is_sharded:
        raise UsageError(
            "muon needs whole matrices, but a rank has only its part of a sharded model",
            "use --parallel ddp, or --set optimizer.name=adamw",
        )
    if has_own_schedule(config):
        schedule = build_schedule(config, objects, optimizer, prepared.plan)
        notes += [schedule.note] if isinstance(schedule, TorchSchedule) else []
        prepared = replace(prepared, plan=replace(prepared.plan, schedule=schedule))
    prepared = replace(prepared, notes=(*prepared.notes, *notes))
    state = State(
        model=model,
        optimizer=optimizer,
        precision=prepared.precision,
        average=make_average(model, config.train.average) if config.train.average else None,
        schedule=prepared.plan.schedule if isinstance(prepared.plan.schedule, Plateau) else None,
        own=OwnState(model, prepared.plan.loss, world),
    )
    return Session(**vars(prepared), parallel=parallel, state=state, spare=spare)


@contextmanager
def watching(config: Config, model: nn.Module) -> Iterator[None]:
    """A context in which the hook that the settings name, if any, watches their layers."""
    settings = config.lens
    if not settings.watch:
        yield
        return
    hook = naming_errors(load_object(settings.hook, "hook"), settings.hook, "hook")
    with watch(model, settings.watch, hook, every=settings.watch_every):
        yield
