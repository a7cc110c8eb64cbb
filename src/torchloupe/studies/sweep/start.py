"""A sweep begun or joined: from what a person asks for to workers."""

import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchloupe.config.schema import Config
from torchloupe.distributed.rank import find_rank
from torchloupe.errors import Interrupted, Terminated, UsageError, printable
from torchloupe.prepare.data import open_source
from torchloupe.prepare.objects import NO_OBJECTS, refuse_misspelt
from torchloupe.run.json_files import read_json
from torchloupe.run.listener import Listener
from torchloupe.run.places import create_run
from torchloupe.studies.sweep.book import Book, Trial
from torchloupe.studies.sweep.claims import Claims
from torchloupe.studies.sweep.plan import (
    DEFAULT_TRIALS,
    Plan,
    make_name,
    read_plan,
    refuse_unknown,
    write_plan,
)
from torchloupe.studies.sweep.results import RESULTS
from torchloupe.studies.sweep.space import count_combinations, make_space
from torchloupe.studies.sweep.work import Sweeping, Tell, work
from torchloupe.studies.sweep.workers import run_workers
from torchloupe.system.trust import trusted_name
from torchloupe.train.arguments import Recipe, name_source
from torchloupe.train.changes import refuse_untrusted
from torchloupe.train.start import decide

_CODE = {
    "model.name": "model",
    "loss.name": "loss",
    "optimizer.name": "optimizer",
    "schedule.name": "schedule",
}


@dataclass(frozen=True)
class Wish:
    """What a sweep is asked for besides data and settings."""

    tries: Mapping[str, Any]  # values by the dotted name of a setting
    trials: int | None = None
    minutes: float | None = None
    repeat: int = 0
    prune: str = "asha"
    storage: str = ""
    workers: int = 1  # processes on this machine


@dataclass(frozen=True)
class Sweep:
    """A finished sweep; `results` is the content of its results.json."""

    folder: Path
    trials: tuple[Trial, ...]
    results: dict[str, Any]

    @property
    def best(self) -> Path:
        """The run folder of the winner, which is a run like any other."""
        return self.folder / str(self.results["winner"]["run"])


def sweep(
    data: Any,
    tries: Mapping[str, Any],
    *,
    trials: int | None = None,
    minutes: float | None = None,
    repeat: int = 0,
    prune: str = "asha",
    workers: int = 1,
    storage: str = "",
    out: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Sweep:
    """Train many runs with other settings, test the best, and return what was found.

    `tries` has a list of values or a range (`"1e-4..1e-2:log"`) for each setting by its dotted
    name; `settings` are those of all trials, as in `fit`. `data` is a name, folder or file if
    there are several workers. Progress goes to stderr.
    """
    wish = Wish(tries, trials, minutes, repeat, prune, storage, workers)
    typed = dict(settings or {})
    recipe = typed.pop("recipe", None)
    return start_sweep(data, typed, recipe, wish, out)


def start_sweep(
    source: Any,
    typed: Mapping[str, Any],
    recipe: Recipe,
    wish: Wish,
    out: str | Path | None = None,
    *,
    tell: Tell = print,
    listeners: Callable[[], list[Listener]] = list,
    started: Callable[[Path], object] = lambda _: None,
) -> Sweep:
    """Begin a sweep in a new folder, and work until it is done.

    Everything that can be refused is refused before the folder is made.
    """
    is_named = isinstance(source, (str, Path))
    settings = decide({**name_source(source), **typed}, recipe)
    config = settings.config
    refuse_misspelt(config, NO_OBJECTS)
    refuse_several(config)
    refuse_unknown(wish.prune, wish.storage)
    space = make_space(wish.tries, config)
    if wish.workers > 1 and not is_named:
        raise UsageError(
            "several workers can't share data that are a Python object",
            "give their folder or file, or one worker",
        )
    data = open_source(config.data, source)
    count = wish.trials if wish.trials or wish.minutes else DEFAULT_TRIALS
    different = count_combinations(space)
    if different is not None:
        count = min(count or different, different)
    folder = create_run(None if out is None else Path(out), f"{data.name}-sweep")
    plan = Plan(
        name=make_name(folder),
        space=space,
        seed=config.train.seed,
        monitor=config.train.monitor,
        trials=count or 0,
        minutes=wish.minutes or 0.0,
        repeat=wish.repeat,
        prune=wish.prune,
        storage=wish.storage,
    )
    try:
        Book(plan, folder)  # a database that does not answer is found before there is a sweep
    except BaseException:
        shutil.rmtree(folder)
        raise
    write_plan(folder, plan, settings)
    started(folder)
    if wish.workers > 1:
        run_workers(folder, plan, wish.workers, tell)
        return open_sweep(folder)
    return _go(folder, data, tell, listeners, trust_code=True)


def resume_sweep(
    folder: str | Path,
    *,
    trust_code: bool = False,
    tell: Tell = print,
    listeners: Callable[[], list[Listener]] = list,
) -> Sweep:
    """Go on with a sweep that was stopped, or help one that other processes work on."""
    path = Path(folder)
    plan, settings = read_plan(path)
    if (path / RESULTS).is_file():
        return open_sweep(path)
    config = settings.config
    refuse_several(config)
    refuse_untrusted(config, path, NO_OBJECTS, trust_code, asked=set())
    for dimension in plan.space:
        for choice in dimension.choices if dimension.name in _CODE else ():
            trusted_name(str(choice), _CODE[dimension.name], path, trust_code)
    data = open_source(config.data, config.data.source)
    return _go(path, data, tell, listeners, trust_code=trust_code)


def open_sweep(folder: Path) -> Sweep:
    """A finished sweep, read from its folder."""
    plan, _ = read_plan(folder)
    return Sweep(folder, tuple(Book(plan, folder).trials()), read_json(folder / RESULTS))


def refuse_several(config: Config) -> None:
    """UsageError for trials of several runs or ranks."""
    if config.data.folds:
        raise UsageError(
            "a trial is one run, and data.folds asks for several",
            "leave it out; cross-validate the winner's settings afterwards",
        )
    if config.hardware.gpus != "1" or find_rank() is not None:
        raise UsageError(
            "a trial is trained by one process, and several were asked for",
            "leave gpus and torchrun out; --workers N trains N trials at once",
        )


def _go(
    folder: Path,
    data: Any,
    tell: Tell,
    listeners: Callable[[], list[Listener]],
    *,
    trust_code: bool,
) -> Sweep:
    plan, settings = read_plan(folder)
    book = Book(plan, folder)
    claims = Claims(folder)
    try:
        work(Sweeping(folder, plan, settings, data, book, claims, trust_code, tell, listeners))
    except (Interrupted, Terminated) as error:
        hint = f"loupe resume {shlex.quote(printable(folder))} continues with all trials"
        raise type(error)(error.message, hint) from None
    return open_sweep(folder)
