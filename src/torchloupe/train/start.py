"""A run started or resumed: from the arguments a person gives to a session, and into the loop."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from torchloupe.config.schema import Config
from torchloupe.config.settings import Settings, read_settings
from torchloupe.config.text import change
from torchloupe.data.pack.set_aside import UnreadableError
from torchloupe.display.terminal import make_display
from torchloupe.display.waiting import waiting_line
from torchloupe.distributed.rank import find_rank
from torchloupe.errors import UsageError
from torchloupe.hardware.device import choose_device
from torchloupe.hardware.precision import nearest_format
from torchloupe.hardware.process import process_settings_kept
from torchloupe.prepare.data import open_source
from torchloupe.prepare.objects import NO_OBJECTS, UserObjects, has_own_schedule
from torchloupe.prepare.session import Session, join_ranks, prepare_session, refuse_missing_ranks
from torchloupe.recipes.choice import load_recipe
from torchloupe.run.listener import Listener
from torchloupe.run.places import create_run
from torchloupe.train.arguments import (
    NAMES,
    LossLike,
    OptimizerLike,
    Recipe,
    SettingsLike,
    name_source,
    sort_arguments,
    sort_objects,
)
from torchloupe.train.changes import (
    list_unreadable,
    note_changed_data,
    refuse_fixed_settings,
    refuse_new_names,
    refuse_untrusted,
)
from torchloupe.train.execution import PreviousRun, run_session
from torchloupe.train.going_on import has_begun, read_begun
from torchloupe.train.teaching import with_teacher
from torchloupe.trained.run import Run


def fit(
    data: Any,
    *,
    model: str | nn.Module | Callable[..., nn.Module] = "auto",
    loss: LossLike = "auto",
    optimizer: OptimizerLike = "auto",
    epochs: float | None = None,
    minutes: float | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    out: str | Path | None = None,
    settings: SettingsLike = None,
) -> Run:
    """Train a classifier on `data` and return the finished Run.

    `data` is a folder, file or set name, a `Data` from `open_data`, or a Dataset, DataLoader or
    pair of arrays. `model` and `loss` are names, modules or classes; `optimizer` is a name, class
    or function of the parameters. What is left at "auto" or None is chosen by a recipe from the
    data and the model, and recorded in the run's config.json.

    `batch_size` is that of a step, over all ranks. `epochs` and `minutes` exclude each other.
    `settings` takes the dotted names of docs/settings.md; a recipe (`file.py:function`, a
    config.json, a mapping or a Config) stands there alone, or beside settings as "recipe"; a
    torch scheduler (a class, partial, function of the optimizer or instance) as "schedule"; a Run
    of the same classes as "distill.teacher", whose answers are learned beside the labels.

    Under torchrun every rank must call this. Progress goes to stderr.
    """
    given = (epochs, minutes, batch_size, lr, seed, device)
    named = dict(zip(NAMES, given, strict=True))
    typed, recipe, objects = sort_arguments(model, loss, optimizer, named, settings)
    shown = data if isinstance(data, (str, Path)) else "the data"
    with (
        _display(f"reading {shown}") as listeners,
        new_session(data, typed, recipe, out, objects, listeners) as (session, folder),
    ):
        return run_session(session, folder, listeners)


def resume(
    folder: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    data: Any = None,
    model: str | nn.Module | Callable[..., nn.Module] | None = None,
    loss: LossLike | None = None,
    optimizer: OptimizerLike | None = None,
    trust_code: bool = False,
    accept_new_data: bool = False,
) -> Run:
    """Continue a run from its newest sound checkpoint, with the settings it was started with.

    `settings` replaces some from now on. Data, a model, loss, optimizer or scheduler (`settings`:
    "schedule") that were Python objects or the user's own code have to be given again, as they
    were to `fit` (or `trust_code` said). Raises DataError for data that changed since, unless
    `accept_new_data`. Progress goes to stderr.
    """
    typed = dict(settings or {})
    own = None if isinstance(model, str) else model
    objects = sort_objects(typed, model=own, loss=loss, optimizer=optimizer)
    with _display(f"opening {folder}") as listeners:
        return continue_run(
            folder,
            typed,
            replace(objects, source=data),
            model_name=model if isinstance(model, str) else None,
            trust_code=trust_code,
            accept_new_data=accept_new_data,
            listeners=listeners,
        )


@contextmanager
def _display(what: str) -> Iterator[list[Listener]]:
    """The display on stderr; on a terminal a line says what happens until it has a text."""
    with waiting_line() as line:
        line.say(what)
        display = make_display(quiet=False)
        try:
            yield [display]
        finally:
            display.close()


def train(
    source: Any,
    typed: Mapping[str, Any],
    recipe: Recipe = None,
    out: str | Path | None = None,
    *,
    objects: UserObjects = NO_OBJECTS,
    listeners: Sequence[Listener] = (),
    began: float | None = None,
) -> Run:
    """Train from settings: defaults, then `recipe`, then `typed`; the finished Run.

    `source` and `objects` stand in for what the settings name. Under torchrun every rank must
    call this; rank 0 writes, and `listeners` hear of it. A budget in minutes counts from `began`
    (`time.perf_counter()`), or from now.
    """
    with new_session(source, typed, recipe, out, objects, listeners, began) as (session, folder):
        return run_session(session, folder, listeners)


def begin_or_go_on(
    source: Any,
    typed: Mapping[str, Any],
    recipe: Recipe,
    out: str | Path | None,
    *,
    listeners: Sequence[Listener] = (),
    began: float | None = None,
) -> Run:
    """As `train`, but a run that has begun in `out` goes on with the settings that it has.

    Every rank must call this. `typed` settings that differ from those of the run count from now on.
    """
    if out is None:
        raise UsageError("--resume needs the folder of the run", "give --out RUN")
    if not has_begun(Path(out)):
        return train(source, typed, recipe, out, listeners=listeners, began=began)
    objects = UserObjects(source)
    typed = {name: value for name, value in typed.items() if name != "data.source"}
    return continue_run(out, typed, objects, trust_code=True, listeners=listeners, began=began)


@contextmanager
def new_session(
    source: Any,
    typed: Mapping[str, Any],
    recipe: Recipe,
    out: str | Path | None,
    objects: UserObjects,
    listeners: Sequence[Listener],
    began: float | None = None,
) -> Iterator[tuple[Session, Path]]:
    """A session for a new run and its empty folder; the ranks are joined inside."""
    began = time.perf_counter() if began is None else began
    settings = decide({**name_source(source), **typed}, recipe)
    config = settings.config
    if config.data.folds and not config.data.fold:
        raise UsageError(
            f"data.folds={config.data.folds} asks for as many runs, and this is one",
            "use loupe.cross_validate(...) or --folds, or choose one: data.fold=1",
        )
    refuse_missing_ranks(config)
    objects = replace(objects, source=source)
    with process_settings_kept(), join_ranks(config) as world:
        try:
            session = prepare_session(settings, objects, listeners, world=world, began=began)
        except UnreadableError as error:
            if world.leads:
                list_unreadable(error, out, source)
            raise
        session = with_teacher(session, objects, listeners)
        name = session.run_data.source.name
        folder = create_run(None if out is None else Path(out), name) if world.leads else None
        yield session, world.first(folder)


def decide(typed: Mapping[str, Any], recipe: Recipe) -> Settings:
    """The settings so far: defaults, then the recipe, then what was `typed`."""
    settings = Settings()
    if isinstance(recipe, str) and recipe.endswith(".json"):
        earlier = read_settings(Path(recipe))
        names = [name for name in earlier.origins if not earlier.is_open(name)]
        settings = Settings(earlier.config, dict.fromkeys(names, "recipe"))
    elif recipe is not None:
        found = load_recipe(recipe) if isinstance(recipe, str) else recipe
        config = change(found, {}) if isinstance(found, Config) else change(Config(), found)
        settings = settings.replaced(config, "recipe")
    settings = settings.with_typed(typed)
    if has_own_schedule(settings.config) and settings.config.schedule.warmup_fraction:
        raise UsageError(
            "schedule.warmup_fraction is for the schedules known by name, not for a scheduler of "
            "torch or of your own",
            "leave it out, or warm up in the scheduler: SequentialLR of LinearLR and yours",
        )
    return settings


def continue_run(
    folder: str | Path,
    typed: Mapping[str, Any],
    objects: UserObjects = NO_OBJECTS,
    *,
    model_name: str | None = None,
    trust_code: bool = False,
    accept_new_data: bool = False,
    listeners: Sequence[Listener] = (),
    began: float | None = None,
) -> Run:
    """Continue a run, as `resume` does; `objects` and `model_name` stand in for what it names.

    A budget in minutes counts from `began` or from now, after what was trained before.
    """
    began = time.perf_counter() if began is None else began
    path = Path(folder)
    before, contract = read_begun(path)
    settings = settings_to_resume(before, typed, model_name)
    config = settings.config
    refuse_untrusted(
        config,
        path,
        objects,
        trust_code,
        asked={*typed, "model.name"} if model_name else set(typed),
    )
    refuse_fixed_settings(before.config, config)
    named = config.data.source if objects.source is None else objects.source
    source = open_source(config.data, named)
    objects = replace(objects, source=source)
    with process_settings_kept(), join_ranks(config) as world:
        with world.others_told():
            if world.leads:
                refuse_new_names(path, config, source, contract, accept=accept_new_data)
        world.first(True)
        session = prepare_session(settings, objects, listeners, contract, world, began)
        session = with_teacher(session, objects, listeners, path, trust_code=trust_code)
        changes = (
            note_changed_data(path, session.run_data, accept_new_data) if world.leads else None
        )
        return run_session(session, path, listeners, PreviousRun(before.config, changes))


def settings_to_resume(
    before: Settings, typed: Mapping[str, Any], model_name: str | None = None
) -> Settings:
    """The settings that a run goes on with: those it had, with what is typed now."""
    settings = before.changed(typed, "typed")
    if "train.minutes" in typed:  # from now on the clock decides
        epochs = settings.config.train.epochs
        settings = settings.with_measured({"train.epochs": epochs})
    if model_name is not None:
        settings = settings.with_default({"model.name": model_name})
    if "hardware.precision" not in typed:
        device = choose_device(settings.config.hardware.device, find_rank()).device
        name = nearest_format(settings.config.hardware.precision, device)
        settings = settings.with_default({"hardware.precision": name})
    return settings
