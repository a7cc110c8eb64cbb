"""From settings to objects: data, model, loss, optimizer, plan, ready for the loop.

Everything that can be refused is refused here, before a run folder is made.
"""

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from torchloupe.code import load_object
from torchloupe.config import Config
from torchloupe.data.augment import Augment
from torchloupe.data.contract import Contract
from torchloupe.data.part import Part
from torchloupe.errors import UsageError
from torchloupe.evaluation import evaluate
from torchloupe.features import settle_format
from torchloupe.hardware.device import DeviceChoice, choose_device, count_gpus, wait_for
from torchloupe.hardware.heap import keep_freed_blocks
from torchloupe.hardware.memory import Portions, is_out_of_memory, make_room
from torchloupe.hardware.parallel import Parallel, make_parallel
from torchloupe.hardware.precision import Precision, choose_precision
from torchloupe.hardware.world import ALONE, World
from torchloupe.lens.anatomy import explain_forward
from torchloupe.lens.watch import watch
from torchloupe.loop import Feed
from torchloupe.materials import Materials, open_source, prepare
from torchloupe.model.losses import Loss
from torchloupe.model.optimizers import make_average
from torchloupe.model.schedules import Plateau
from torchloupe.model.transfer import Transfer
from torchloupe.pieces import (
    Objects,
    build_loss,
    build_model,
    build_optimizer,
    describe,
    load_backbone,
    make_plan,
)
from torchloupe.plan import Plan
from torchloupe.recipes import PRETRAINED, explain_imbalance, fill_in
from torchloupe.run import Listener
from torchloupe.settings import Source, change
from torchloupe.speed import repeat_batch, settle_speed
from torchloupe.state import State
from torchloupe.strategy import Decision, decide_strategy

FORMAT_IMAGES = 8  # that number formats are compared on
PACE_SECONDS = 3.0  # how long steps are timed for a budget in minutes


@dataclass(frozen=True)
class Draft:
    """What every rank makes by itself."""

    config: Config
    sources: Mapping[str, Source]
    materials: Materials
    feed: Feed
    place: DeviceChoice
    precision: Precision
    plan: Plan
    model: nn.Module
    notes: tuple[str, ...] = ()  # for the person, of the data and of what was measured


@dataclass(frozen=True)
class Work(Draft):
    """A run ready to be trained."""

    parallel: Parallel = field(kw_only=True)
    state: State = field(kw_only=True)


def build(
    config: Config,
    sources: Mapping[str, Source],
    objects: Objects,
    listeners: Sequence[Listener] = (),
    contract: Contract | None = None,
    world: World = ALONE,
) -> Work:
    """Open the data, make the model and everything around it, and try one forward.

    Everything that can be refused is refused here, before a folder is made. `contract` is that
    of the run to go on with; else it is made from the data. Every rank must call this: what is
    left open is decided by rank 0, while the others wait.
    """
    if world.leads:
        draft = draw_up(config, sources, objects, listeners, contract, world)
        world.first((draft.config, draft.sources, draft.materials.contract))
    else:
        decided: tuple[Config, dict[str, Source], Contract] = world.first(None)
        config, sources, contract = decided
        sources = {  # nothing is open any more, and nothing is measured a second time
            name: "measured" if source == "default" else source for name, source in sources.items()
        }
        draft = draw_up(config, sources, objects, (), contract, world)
    return put_together(draft, objects, world)


def draw_up(
    config: Config,
    sources: Mapping[str, Source],
    objects: Objects,
    listeners: Sequence[Listener],
    contract: Contract | None,
    world: World,
) -> Draft:
    """Everything that may be refused: data, model, loss, plan."""
    keep_freed_blocks()
    place = choose_device(config.hardware.device, world.seat)
    precision_name, _ = choose_precision(config.hardware.precision, place.device)
    if config.hardware.deterministic:
        torch.use_deterministic_algorithms(True)

    def tell(event: Mapping[str, Any]) -> None:
        for listener in listeners:
            listener.record(event)

    decision = Decision(config, dict(sources))
    if contract is None:
        data = open_source(config.data, objects.source)
        objects = replace(objects, source=data)
        decision = decide_strategy(config, sources, data, objects.model is not None)
    config, sources = decision.config, decision.sources
    materials = prepare(
        config.data,
        objects.source,
        seed=config.train.seed,
        contract=contract,
        sight=decision.sight,
        progress=lambda done, total: tell({"phase": "pack", "done": done, "total": total}),
        announce=lambda text: tell({"about": text}),
    )
    materials = replace(materials, part=Part(world.rank, world.size))
    facts = describe(materials)
    was_open = config
    config, filled = fill_in(config, facts, sources)
    config = change(config, {"hardware.precision": precision_name})
    Precision(precision_name, place.device)  # refuses what the device can't do
    set_threads(config)

    model = build_model(config, objects, facts)
    if isinstance(model, Transfer) and contract is None:
        decision.notes.extend(load_backbone(config, model))
    model = model.to(place.device)
    loss = build_loss(config, objects, materials).to(place.device)
    batch = next(iter(materials.scan_rows(materials.splits.train[:2], place.device)))
    explain_forward(model, batch.images, facts.classes)  # also gives lazy layers their shapes
    with watching(config, model):
        pass  # refuses layers and a hook that are not there
    if isinstance(model, Transfer) and config.train.strategy == "head":
        chosen, notes = settle_format(config, sources, model, repeat_batch(batch, FORMAT_IMAGES))
    else:
        chosen, notes = settle_speed(
            config,
            sources,
            model,
            loss,
            partial(build_optimizer, config, replace(objects, optimizer=None)),
            repeat_batch(batch, -(-config.train.batch_total // world.size)),
            materials.train_count // config.train.batch_total,
        )
    config, filled = take_measured(config, filled, chosen)
    set_threads(config)
    precision = Precision(config.hardware.precision, place.device)
    if config.hardware.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if config.hardware.compile:
        model.compile()
    if config.train.minutes and not config.train.epochs:
        epochs = measure_epochs(config, objects, materials, model, loss, precision)
        chosen["train.epochs"] = epochs
        config = change(was_open, {"train.epochs": epochs, "hardware.precision": precision_name})
        config, filled = fill_in(config, facts, {**sources, "train.epochs": "measured"})
        config, filled = take_measured(config, filled, chosen)
    refuse_epochs(config, world)
    feed = materials.feed(
        config.train.batch_total,
        config.train.seed,
        Augment.from_settings(config.augment),
        place.device,
    )
    plan = make_plan(config, feed.steps_per_epoch, loss)
    if filled["train.epochs"] == "measured":
        plan = replace(plan, seconds=60 * config.train.minutes)
    counts = None if facts.multi_label else materials.class_counts()
    if counts is not None:
        uneven = explain_imbalance(config, facts.class_names, counts.tolist())
        notes = [uneven, *notes] if uneven else notes
    told = (*materials.notes, *decision.notes, *notes)
    return Draft(config, filled, materials, feed, place, precision, plan, model, told)


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


def put_together(draft: Draft, objects: Objects, world: World) -> Work:
    """Join the models of all ranks, and make what hangs on their weights. Every rank calls this."""
    config, model = draft.config, draft.model
    kind, is_gpu = config.hardware.parallel, draft.place.device.type == "cuda"
    count = count_gpus(config.hardware.gpus) if kind == "dp" and is_gpu else 0
    devices = [torch.device("cuda", number) for number in range(count)]
    parallel = make_parallel(model, world, kind, devices)
    if config.train.average and parallel.is_spread:
        raise UsageError(
            "averaged weights are not kept of a model that is spread over the ranks",
            "use --parallel ddp, or --set train.average=0",
        )
    state = State(
        model=model,
        optimizer=build_optimizer(config, objects, model),
        precision=draft.precision,
        average=make_average(model, config.train.average) if config.train.average else None,
        schedule=draft.plan.schedule if isinstance(draft.plan.schedule, Plateau) else None,
    )
    return Work(**vars(draft), parallel=parallel, state=state)


def set_threads(config: Config) -> None:
    """Let torch use as many threads as the settings say."""
    if config.hardware.threads:
        torch.set_num_threads(config.hardware.threads)


def take_measured(
    config: Config, sources: Mapping[str, Source], values: Mapping[str, Any]
) -> tuple[Config, dict[str, Source]]:
    """The settings with what was measured, and where each came from."""
    return change(config, values), {**sources, **dict.fromkeys(values, "measured")}


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


def measure_epochs(
    config: Config,
    objects: Objects,
    materials: Materials,
    model: nn.Module,
    loss: Loss,
    precision: Precision,
) -> float:
    """How many epochs, evaluations included, fit into `config.train.minutes` on this machine.

    Times a few seconds of real steps, and one evaluation batch, on a copy of the model.
    """
    trial, device = copy.deepcopy(model), precision.device
    optimizer = build_optimizer(config, replace(objects, optimizer=None), trial)
    feed = materials.feed(config.train.batch_total, config.train.seed, Augment(), device)
    timed, start, began, portions = 0, 0.0, time.perf_counter(), Portions()
    trial.train()
    for number, batch in enumerate(feed.batches()):
        if number == 2:  # the first steps also set things up
            wait_for(device)
            start = time.perf_counter()
        parts = portions.count(len(batch))
        try:
            for micro, weight, _ in batch.micro(parts):
                with precision.autocast():
                    value = loss(trial(micro.images), micro.labels) * weight
                precision.backward(value)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            make_room(portions, -(-len(batch) // parts), str(error))
            optimizer.zero_grad(set_to_none=True)
            continue
        precision.step(optimizer, value.detach())
        timed = number - 1
        if timed >= 1 and (time.perf_counter() - began > PACE_SECONDS or timed >= 200):
            break
    wait_for(device)
    seconds = (time.perf_counter() - start) / timed * feed.steps_per_epoch
    if materials.has("val"):
        rows = materials.splits.val[:512]
        start = time.perf_counter()
        evaluate(trial, materials.scan_rows(rows, device, "val"), precision=precision)
        share = len(materials.splits.val) / max(len(rows), 1)
        seconds += (time.perf_counter() - start) * share
    return max(60 * config.train.minutes / seconds, 1 / feed.steps_per_epoch)
