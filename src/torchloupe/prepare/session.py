"""From settings to objects: data, model, loss, optimizer, plan, ready for the loop.

Everything that can be refused is refused here, before a run folder is made.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from torchloupe.checks.trial import TrialResult, try_model
from torchloupe.config.schema import Config
from torchloupe.config.text import Source, change
from torchloupe.data.augmentation.augment import Augment
from torchloupe.data.contract import Contract
from torchloupe.data.feeds.feed import Feed
from torchloupe.data.feeds.rank_share import RankShare
from torchloupe.distributed.parallel import Parallel, make_parallel
from torchloupe.distributed.rank import find_rank
from torchloupe.distributed.world import ALONE, World, join
from torchloupe.errors import UsageError
from torchloupe.hardware.device import DeviceChoice, choose_device, count_gpus
from torchloupe.hardware.layout import set_memory_format
from torchloupe.hardware.precision import Precision, choose_precision
from torchloupe.lens.watch import watch
from torchloupe.model.muon import Muon
from torchloupe.model.optimizers import make_average
from torchloupe.model.schedules import Plateau
from torchloupe.model.transfer import Transfer
from torchloupe.prepare.budget import Budget, choose_network, guess_epochs, plan_budget
from torchloupe.prepare.data import RunData, open_source, prepare
from torchloupe.prepare.features import choose_feature_format
from torchloupe.prepare.objects import (
    UserObjects,
    build_loss,
    build_model,
    build_optimizer,
    facts_of,
    load_backbone,
    make_plan,
    refuse_misspelt,
)
from torchloupe.prepare.plan import Plan
from torchloupe.prepare.spare import Spare, compare_spare, keep_spare
from torchloupe.prepare.strategy import Decision, decide_strategy
from torchloupe.recipes.choice import PRETRAINED, Facts, explain_imbalance, fill_in
from torchloupe.run.listener import Listener
from torchloupe.run.state import State
from torchloupe.speed.choice import choose_speed, repeat_batch
from torchloupe.system.heap import keep_freed_blocks
from torchloupe.system.user_code import load_object

FORMAT_IMAGES = 8  # that number formats are compared on


@dataclass(frozen=True)
class Prepared:
    """What every rank makes by itself."""

    config: Config
    sources: Mapping[str, Source]
    run_data: RunData
    feed: Feed
    place: DeviceChoice
    precision: Precision
    plan: Plan
    model: nn.Module
    notes: tuple[str, ...] = ()  # for the person, of the data and of what was measured
    budget: Budget | None = None  # where a time, not a number of epochs, was given


@dataclass(frozen=True)
class Session(Prepared):
    """A run ready to be trained."""

    parallel: Parallel = field(kw_only=True)
    state: State = field(kw_only=True)
    spare: Spare = field(kw_only=True)

    def spend_rest(self) -> Plan:
        """The plan, with all that is left now of a budget in minutes for training."""
        if self.budget is None:
            return self.plan
        return replace(self.plan, seconds=self.parallel.world.first(self.budget.left()))


def join_ranks(config: Config) -> AbstractContextManager[World]:
    """The world that torchrun started this process in, or of this process alone."""
    place = choose_device(config.hardware.device, find_rank())
    return join(place.device, config.hardware.timeout_seconds)


def refuse_missing_ranks(config: Config) -> None:
    """UsageError where several processes are asked for that nobody started."""
    if config.hardware.gpus != "1" and config.hardware.parallel != "dp" and find_rank() is None:
        raise UsageError(
            f"hardware.gpus={config.hardware.gpus} needs a process for each GPU, and this is one",
            "start the script with torchrun --nproc-per-node N, or use hardware.parallel=dp",
        )


def build(
    config: Config,
    sources: Mapping[str, Source],
    objects: UserObjects,
    listeners: Sequence[Listener] = (),
    contract: Contract | None = None,
    world: World = ALONE,
    began: float | None = None,
) -> Session:
    """Open the data, make the model and everything around it, and try one forward.

    Everything that can be refused is refused here, before a folder is made. `contract` is that
    of the run to go on with; else it is made from the data. Every rank must call this: what is
    left open is decided by rank 0, while the others wait. A budget in minutes counts from `began`
    (`time.perf_counter()`), or from now.
    """
    began = time.perf_counter() if began is None else began
    spare = keep_spare(objects.model)
    if world.leads:
        draft = draw_up(config, sources, objects, listeners, contract, world, began)
        world.first((draft.config, draft.sources, draft.run_data.contract))
    else:
        decided: tuple[Config, dict[str, Source], Contract] = world.first(None)
        config, sources, contract = decided
        sources = {  # nothing is open any more, and nothing is measured a second time
            name: "measured" if source == "default" else source for name, source in sources.items()
        }
        draft = draw_up(config, sources, objects, (), contract, world, began)
    return attach_ranks(draft, objects, world, spare)


def draw_up(
    config: Config,
    sources: Mapping[str, Source],
    objects: UserObjects,
    listeners: Sequence[Listener],
    contract: Contract | None,
    world: World,
    began: float,
) -> Prepared:
    """Everything that may be refused: data, model, loss, plan."""
    keep_freed_blocks()
    place = choose_device(config.hardware.device, world.launched)
    precision_name, _ = choose_precision(config.hardware.precision, place.device)
    if config.hardware.deterministic:
        torch.use_deterministic_algorithms(True)

    decision, run_data = prepare_data(config, sources, objects, listeners, contract)
    config, sources = decision.config, decision.sources
    run_data = replace(run_data, rank_share=RankShare(world.rank, world.size))
    facts = facts_of(run_data)
    was_open = config
    config, filled = fill_in(config, facts, sources)
    config = change(config, {"hardware.precision": precision_name})
    Precision(precision_name, place.device)  # refuses what the device can't do
    set_threads(config)

    loss = build_loss(config, objects, run_data).to(place.device)
    share = -(-config.train.batch_total // world.size)
    batch = next(iter(run_data.scan_rows(run_data.some_rows(share), place.device)))
    trial = repeat_batch(batch, share)
    model = build_model(config, objects, facts).to(place.device)
    network = choose_network(config, filled, facts, began, model, loss, trial)
    if network:
        config, filled = take_measured(config, filled, network)
        model = build_model(config, objects, facts).to(place.device)
    if isinstance(model, Transfer) and contract is None:
        decision.notes.extend(load_backbone(config, model))
    tried = try_model(model, loss, batch, facts.classes, config, filled)
    config, sources, filled = take_trial(tried, decision, config, sources, filled)
    with watching(config, model):
        pass  # refuses layers and a hook that are not there
    make_trial_optimizer = partial(build_optimizer, config, replace(objects, optimizer=None))
    feeding = (config.train.batch_total, config.train.seed)
    if isinstance(model, Transfer) and config.train.strategy == "head":
        chosen, notes = choose_feature_format(
            config, sources, model, repeat_batch(batch, FORMAT_IMAGES)
        )
    else:
        chosen, notes = choose_speed(
            config,
            sources,
            model,
            loss,
            make_trial_optimizer,
            trial,
            run_data.train_count // config.train.batch_total,
        )
    chosen = {**network, **tried.settings, **chosen}
    config, filled = take_measured(config, filled, chosen)
    set_threads(config)
    precision = Precision(config.hardware.precision, place.device)
    set_memory_format(model, bool(config.hardware.channels_last))
    if config.hardware.compile:
        model.compile()
    budget = None
    if config.train.minutes and (not config.train.epochs or filled["train.epochs"] == "measured"):
        budget = plan_budget(config.train.minutes, began, model, run_data, precision)
    if budget and not config.train.epochs:
        unchanged = run_data.feed(*feeding, Augment(), place.device)
        epochs = guess_epochs(budget, model, unchanged, loss, make_trial_optimizer, precision)
        chosen["train.epochs"] = epochs
        config = change(was_open, {"train.epochs": epochs, "hardware.precision": precision_name})
        config, filled = fill_in(config, facts, {**sources, "train.epochs": "measured"})
        config, filled = take_measured(config, filled, chosen)
    refuse_epochs(config, world)
    feed = run_data.feed(*feeding, Augment.from_settings(config.augment), place.device)
    plan = make_plan(config, feed.steps_per_epoch, loss)
    if budget:
        notes = [*notes, *budget.notes()]
    uneven = note_imbalance(config, facts, run_data)
    told = (*run_data.notes, *decision.notes, *uneven, *notes)
    return Prepared(config, filled, run_data, feed, place, precision, plan, model, told, budget)


def prepare_data(
    config: Config,
    sources: Mapping[str, Source],
    objects: UserObjects,
    listeners: Sequence[Listener],
    contract: Contract | None,
) -> tuple[Decision, RunData]:
    """What is trained from these data, and the run_data; the listeners hear what packing costs.

    With a `contract` the decision stands in the settings already.
    """

    def tell(event: Mapping[str, Any]) -> None:
        for listener in listeners:
            listener.record(event)

    refuse_misspelt(config, objects)
    source, decision = objects.source, Decision(config, dict(sources))
    if contract is None:
        source = open_source(config.data, source)
        decision = decide_strategy(config, sources, source, objects.model is not None)
    run_data = prepare(
        decision.config.data,
        source,
        seed=decision.config.train.seed,
        contract=contract,
        input_spec=decision.input_spec,
        progress=lambda done, total: tell({"phase": "pack", "done": done, "total": total}),
        announce=lambda text: tell({"about": text}),
    )
    return decision, run_data


def note_imbalance(config: Config, facts: Facts, run_data: RunData) -> list[str]:
    """What to know where some classes have many more images than others; else nothing."""
    counts = None if facts.multi_label else run_data.class_counts()
    if counts is None:
        return []
    uneven = explain_imbalance(config, facts.class_names, counts.tolist())
    return [uneven] if uneven else []


def refuse_epochs(config: Config, world: World) -> None:
    """UsageError where strategy, epochs and ranks contradict each other."""
    strategy, epochs = config.train.strategy, config.train.epochs
    if strategy == "head" and epochs:
        raise UsageError(
            f"strategy head solves the last layer and trains no epochs, and {epochs:g} were given",
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


def attach_ranks(
    draft: Prepared, objects: UserObjects, world: World, spare: Spare | None
) -> Session:
    """Join the models of all ranks, and make what hangs on their weights. Every rank calls this."""
    config, model = draft.config, draft.model
    spare, notes = compare_spare(spare, model, config, draft.run_data, draft.place.device)
    draft = replace(draft, notes=(*draft.notes, *notes))
    kind, is_gpu = config.hardware.parallel, draft.place.device.type == "cuda"
    count = count_gpus(config.hardware.gpus) if kind == "dp" and is_gpu else 0
    devices = [torch.device("cuda", number) for number in range(count)]
    parallel = make_parallel(model, world, kind, devices)
    if config.train.average and parallel.is_spread:
        raise UsageError(
            "averaged weights are not kept of a model that is spread over the ranks",
            "use --parallel ddp, or --set train.average=0",
        )
    optimizer = build_optimizer(config, objects, model)
    if isinstance(optimizer, Muon) and parallel.is_spread:
        raise UsageError(
            "muon needs whole matrices, and of a model that is spread each rank has a part of them",
            "use --parallel ddp, or --set optimizer.name=adamw",
        )
    state = State(
        model=model,
        optimizer=optimizer,
        precision=draft.precision,
        average=make_average(model, config.train.average) if config.train.average else None,
        schedule=draft.plan.schedule if isinstance(draft.plan.schedule, Plateau) else None,
    )
    return Session(**vars(draft), parallel=parallel, state=state, spare=spare)


def set_threads(config: Config) -> None:
    """Let torch use as many threads as the settings say."""
    if config.hardware.threads:
        torch.set_num_threads(config.hardware.threads)


def take_measured(
    config: Config, sources: Mapping[str, Source], values: Mapping[str, Any]
) -> tuple[Config, dict[str, Source]]:
    """The settings with what was measured, and where each came from."""
    return change(config, values), {**sources, **dict.fromkeys(values, "measured")}


def take_trial(
    tried: TrialResult,
    decision: Decision,
    config: Config,
    sources: Mapping[str, Source],
    filled: Mapping[str, Source],
) -> tuple[Config, dict[str, Source], dict[str, Source]]:
    """The settings with what a trial of the model decided, which is open no more."""
    decision.notes.extend(tried.notes)
    config, filled = take_measured(config, filled, tried.settings)
    return config, {**sources, **dict.fromkeys(tried.settings, "measured")}, filled


@contextmanager
def watching(config: Config, model: nn.Module) -> Iterator[None]:
    """Inside, the hook that the settings name looks at the layers that they name, if any."""
    settings = config.lens
    if not settings.watch:
        yield
        return
    hook = load_object(settings.hook, "hook")
    with watch(model, settings.watch, hook, every=settings.watch_every):
        yield
