"""From settings to a trained run: the one place that knows every room.

`train` and `resume` are what the command calls; `fit` is the same in Python.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torchloupe.config.schema import Config
from torchloupe.config.text import Source, change, from_json, sources_of, to_json
from torchloupe.display.terminal import make_display
from torchloupe.display.trackers import make_trackers
from torchloupe.distributed.rank import find_rank
from torchloupe.errors import UsageError
from torchloupe.evaluation.scoring import evaluate
from torchloupe.hardware.device import choose_device
from torchloupe.hardware.layout import release
from torchloupe.hardware.memory import release_cached
from torchloupe.hardware.peaks import Peaks
from torchloupe.hardware.precision import nearest_format
from torchloupe.lens.anatomy import parameter_count
from torchloupe.model.transfer import Transfer
from torchloupe.model.wrapping import is_compiled, unwrap
from torchloupe.prepare.data import open_source
from torchloupe.prepare.objects import NO_OBJECTS, UserObjects, facts_of, load_backbone
from torchloupe.prepare.session import Session, build, join_ranks, refuse_missing_ranks, watching
from torchloupe.recipes.choice import explain_augmentation, load_recipe
from torchloupe.run import checkpoint
from torchloupe.run.data_record import DataChange
from torchloupe.run.events import read_events
from torchloupe.run.folder import Follower, RunFolder
from torchloupe.run.json_files import read_json
from torchloupe.run.listener import Listener
from torchloupe.run.places import create_run, find_run
from torchloupe.system.environment import describe_environment
from torchloupe.system.user_code import PYTHON_OBJECT, trusted_name
from torchloupe.train.changes import (
    describe_machine,
    describe_settings,
    note_changed_data,
    refuse_fixed_settings,
    refuse_new_names,
    remember_data,
)
from torchloupe.train.head_stage import describe_stages, run_head_stage
from torchloupe.train.loop import train as run_loop
from torchloupe.train.outcome import write_results
from torchloupe.train.reopening import confirm_reopening
from torchloupe.trained.run import Run, read_contract

LossLike = str | type[nn.Module] | Callable[[Tensor, Tensor], Tensor]
OptimizerLike = str | type[torch.optim.Optimizer] | Callable[..., torch.optim.Optimizer]


def fit(
    data: Any,
    *,
    model: str | nn.Module | Callable[..., nn.Module] = "auto",
    loss: LossLike = "auto",
    optimizer: OptimizerLike | None = None,
    epochs: float | None = None,
    out: str | Path | None = None,
    recipe: str | Config | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Run:
    """Train a classifier on `data` and return the finished Run.

    `data` is a folder, file or set name, a `Data` from `open_data`, or a Dataset, DataLoader or
    pair of arrays of your own. `model` and `loss` are names, modules or classes; `optimizer` is a
    name or class: Adam by default, and with `model="auto"` the recipe's own choice, which
    `"auto"` always asks for. `settings` takes any dotted name of docs/settings.md. Progress goes
    to stderr.
    """
    typed, objects = sort_arguments(model, loss, optimizer, epochs, settings)
    display = make_display(quiet=False)
    try:
        return train(data, typed, recipe, out, objects=objects, listeners=[display])
    finally:
        display.close()


def sort_arguments(
    model: Any, loss: Any, optimizer: Any, epochs: float | None, settings: Mapping[str, Any] | None
) -> tuple[dict[str, Any], UserObjects]:
    """The arguments of `fit` as typed settings, and as the objects that no setting can hold."""
    typed: dict[str, Any] = dict(settings or {})
    if epochs is not None:
        typed["train.epochs"] = epochs
    if optimizer is None:
        optimizer = "auto" if model == "auto" else "adam"
    if isinstance(model, nn.Module):
        typed = {**({"hardware.compile": True} if is_compiled(model) else {}), **typed}
        model = unwrap(model)
    objects = UserObjects()
    for name, value in (("model", model), ("loss", loss), ("optimizer", optimizer)):
        if isinstance(value, str):
            if value != "auto":
                typed.setdefault(f"{name}.name", value)
        else:
            objects = replace(objects, **{name: value})
            typed[f"{name}.name"] = PYTHON_OBJECT
    return typed, objects


def train(
    source: Any,
    typed: Mapping[str, Any],
    recipe: str | Config | None = None,
    out: str | Path | None = None,
    *,
    objects: UserObjects = NO_OBJECTS,
    listeners: Sequence[Listener] = (),
    began: float | None = None,
) -> Run:
    """Train from settings: defaults, then `recipe`, then `typed`; the finished Run.

    `source` and `objects` stand in for what the settings name. Under torchrun every rank
    must call this; rank 0 writes, prints and tells `listeners`. A budget in minutes counts from
    `began` (`time.perf_counter()`), or from now.
    """
    began = time.perf_counter() if began is None else began
    named = {"data.source": str(source) if isinstance(source, (str, Path)) else PYTHON_OBJECT}
    config, sources = decide({**named, **typed}, recipe)
    if config.data.folds and not config.data.fold:
        raise UsageError(
            f"data.folds={config.data.folds} asks for as many runs, and this is one",
            "use loupe.cross_validate(...) or --folds, or choose one: data.fold=1",
        )
    objects = replace(objects, source=source)
    refuse_missing_ranks(config)
    with join_ranks(config) as world:
        work = build(config, sources, objects, listeners, world=world, began=began)
        name = work.run_data.data.name
        folder = create_run(None if out is None else Path(out), name) if world.leads else None
        return run_session(work, world.first(folder), listeners)


def resume(
    folder: str | Path,
    *,
    typed: Mapping[str, Any] | None = None,
    data: Any = None,
    model: str | nn.Module | None = None,
    trust_code: bool = False,
    accept_new_data: bool = False,
    listeners: Sequence[Listener] = (),
    began: float | None = None,
) -> Run:
    """Go on with a run from its newest sound checkpoint, with the settings it was started with.

    `typed` replaces settings from now on. Data or a model that were Python objects, or code of
    the user's own, have to be given again (or `trust_code` said). Refuses data that changed
    since, unless `accept_new_data`. A budget in minutes counts from `began` or from now, after
    what was trained before.
    """
    began = time.perf_counter() if began is None else began
    path = find_run(Path(folder))
    before, sources = from_json(path / "config.json")
    config = change(before, dict(typed or {}))
    sources = sources_of(before, config, "typed", sources)
    if typed and "train.minutes" in typed:
        sources["train.epochs"] = "measured"  # from now on the clock decides
    if isinstance(model, str):
        config = change(config, {"model.name": model})
    elif model is None:
        trusted_name(config.model.name, "model", path, trust_code)
    if data is None:
        trusted_name(config.data.source, "data", path, trust_code)
    for what, name in (("loss", config.loss.name), ("optimizer", config.optimizer.name)):
        trusted_name(name, what, path, trust_code)
    if config.lens.hook and "lens.hook" not in (typed or {}):
        trusted_name(config.lens.hook, "hook", path, trust_code)
    refuse_fixed_settings(before, config)
    if "hardware.precision" not in (typed or {}):
        device = choose_device(config.hardware.device, find_rank()).device
        name = nearest_format(config.hardware.precision, device)
        config = change(config, {"hardware.precision": name})
    contract = read_contract(path)
    source = open_source(config.data, config.data.source if data is None else data)
    objects = UserObjects(source, unwrap(model) if isinstance(model, nn.Module) else None)
    with join_ranks(config) as world:
        if not accept_new_data:
            refuse_new_names(path, config, source, contract)
        work = build(config, sources, objects, listeners, contract, world, began)
        changes = note_changed_data(path, work.run_data, accept_new_data) if world.leads else None
        return run_session(work, path, listeners, PreviousRun(before, changes))


def read_settings(folder: str | Path, typed: Mapping[str, Any]) -> Config:
    """The settings that `resume` would go on with, what is `typed` among them."""
    return change(from_json(find_run(Path(folder)) / "config.json")[0], typed)


def decide(
    typed: Mapping[str, Any], recipe: str | Config | None
) -> tuple[Config, dict[str, Source]]:
    """The settings so far, and where each came from: defaults, then the recipe, then `typed`."""
    config, sources = Config(), sources_of(Config(), Config(), "default", {})
    if isinstance(recipe, str) and recipe.endswith(".json"):
        config, sources = from_json(Path(recipe))
        sources = {name: "recipe" if was != "default" else was for name, was in sources.items()}
    elif recipe is not None:
        config = load_recipe(recipe) if isinstance(recipe, str) else change(recipe, {})
        sources = sources_of(Config(), config, "recipe", sources)
    final = change(config, typed)
    return final, {**sources, **dict.fromkeys(typed, "typed")}


@dataclass(frozen=True)
class PreviousRun:
    """What a resume knows of the run before: its settings, and that its data may be others."""

    config: Config
    changes: DataChange | None


def run_session(
    work: Session, folder: Path, listeners: Sequence[Listener], begun: PreviousRun | None = None
) -> Run:
    """Train in `folder` to the end of the plan, test the best weights and write the results."""
    state, run_data, device = work.state, work.run_data, work.place.device
    world, peaks = work.parallel.world, Peaks(device)
    trackers = make_trackers(work.config.track, folder) if world.leads else []
    with (RunFolder if world.leads else Follower)(
        folder,
        [*listeners, *trackers] if world.leads else [],
        keep=work.config.train.keep,
        save_every_seconds=60 * work.config.train.save_every_minutes,
        ranks=world.size,
    ) as run:
        try:
            notes = list(work.notes)
            if begun is None:
                # config.json comes last: it is what makes the folder a run that can be resumed.
                run.write_json("contract.json", run_data.contract.to_json())
                if world.leads:
                    remember_data(run.path, run_data)
                environment = describe_environment(device, run_data.facts(), world.size)
                run.write_json("environment.json", environment)
            else:
                notes += restore_state(run, work, begun)
            run.write_json("config.json", to_json(work.config, work.sources))
            announce(work, run)
            for note in notes:
                run.note(note)
            has_begun = world.first(bool(checkpoint.list_checkpoints(run.checkpoints)))
            if isinstance(state.model, Transfer) and not has_begun:
                run_head_stage(state, run_data, work.config, work.precision, run, world)
            val = run_data.scan("val", device) if run_data.has("val") else None

            def validate(model: nn.Module) -> dict[str, float] | None:
                assert val is not None
                release_cached(device)
                with peaks.phase("evaluate"), work.parallel.for_inference(model) as module:
                    values = evaluate(
                        module,
                        val,
                        loss=work.plan.loss,
                        precision=work.precision,
                        multi_label=run_data.contract.multi_label,
                        stop=lambda: run.requests.received_signal != 0,
                        world=world,
                    )
                if values is None:  # all ranks know that it was cut short, but not yet why
                    run.requests.agree_on(world.highest(run.requests.pending()))
                return values and {f"val_{name}": value for name, value in values.items()}

            judge_or_not = validate if val else None
            plan = work.spend_rest()
            with peaks.phase("train"), watching(work.config, state.model):
                run_loop(state, work.feed, plan, run, work.precision, judge_or_not, work.parallel)
            if world.leads and (said := describe_stages(read_events(folder), work.plan.monitor)):
                run.note(said)
            write_results(run, work, peaks)
        finally:
            for tracker in trackers:
                tracker.close()
    model = work.parallel.gather_model()
    confirm_reopening(run, work, model)
    release(model)
    return Run(folder, model, run_data.contract, work.config, state.step)


def announce(work: Session, run: RunFolder) -> None:
    """Tell the listeners what is about to happen."""
    config, run_data = work.config, work.run_data
    splits = run_data.splits
    facts = {
        "run": str(run.path),
        "data": run_data.data.name,
        "train_count": run_data.train_count,
        "val_count": len(splits.val),
        "test_count": len(splits.test),
        "class_count": len(run_data.contract.class_names),
        "image_size": [run_data.contract.channels, *run_data.contract.size],
        "model": config.model.name,
        "parameters": parameter_count(work.state.model),
        "device": str(work.place.device),
        "device_reason": work.place.reason,
        "precision": work.precision.name,
        "epochs": work.plan.total_steps / work.plan.steps_per_epoch,
        "minutes": config.train.minutes if work.budget else 0.0,
        "total_steps": work.plan.total_steps,
        "steps_per_epoch": work.plan.steps_per_epoch,
        "start_step": work.state.step,
        "batch_total": config.train.batch_total,
        "augmentation": explain_augmentation(config, facts_of(run_data), work.sources),
    }
    for listener in run.listeners:
        listener.start(facts)


def restore_state(run: RunFolder, work: Session, begun: PreviousRun) -> list[str]:
    """Bring the state to where the run stopped; notes on what is not as it was.

    A run that was killed before its first checkpoint begins again.
    """
    state, config = work.state, work.config
    was = read_json(run.path / "environment.json")
    world = work.parallel.world
    notes = describe_machine(was, describe_environment(work.place.device, {}, world.size))
    notes += describe_settings(begun.config, config)
    if begun.changes:
        notes.append(f"new data accepted: {begun.changes}")  # rank 0 alone knows of changes
        remember_data(run.path, work.run_data)
        run.write_json("environment.json", {**was, "data": work.run_data.facts()})
    if not world.first(bool(checkpoint.list_checkpoints(run.checkpoints))):
        run.forget_events_after(-1)
        if isinstance(state.model, Transfer) and world.leads:
            notes += load_backbone(config, state.model)
        return [*notes, "there is no checkpoint yet: the run begins again"]
    fresh = [dict(group) for group in state.optimizer.param_groups]
    trees, path, passed_over = world.first(
        checkpoint.read_newest(run.checkpoints) if world.leads else None
    )
    state.load(trees)
    if config.optimizer != begun.config.optimizer:
        # The checkpoint holds the old rate, decay and options; what was typed now counts.
        for group, options in zip(state.optimizer.param_groups, fresh, strict=True):
            group.update({name: value for name, value in options.items() if name != "params"})
    run.forget_events_after(state.step)
    return [*notes, *passed_over, f"resumed from {path.name}"]
