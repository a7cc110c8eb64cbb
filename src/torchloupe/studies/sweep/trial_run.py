"""One trial: an ordinary run that is begun or resumed, followed, and perhaps cut short."""

import gc
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from torchloupe.config.settings import Settings
from torchloupe.errors import (
    DataError,
    LoupeError,
    NumericError,
    ResourceError,
    UsageError,
    VerdictError,
    printable,
)
from torchloupe.prepare.objects import UserObjects
from torchloupe.run.events import read_events
from torchloupe.run.listener import Listener
from torchloupe.studies.sweep.book import COMPLETE, FAILED, PRUNED, Book, Trial
from torchloupe.studies.sweep.plan import CONFIG
from torchloupe.studies.sweep.sampling import judge
from torchloupe.train.start import continue_run, train

NAMES = {"asha": "ASHA", "hyperband": "Hyperband"}
OUT_OF_TIME = "the minutes of the sweep were over"


class CutShort(Exception):  # noqa: N818  (no error: a decision)
    """A trial is not worth its remaining steps."""


class Follower:
    """A listener that reports each evaluation of a trial, and raises CutShort where it loses."""

    def __init__(self, book: Book, trial: Trial, every_epochs: float, ends: float) -> None:
        self.book, self.trial, self.every_epochs, self.ends = book, trial, every_epochs, ends
        self.points = dict(trial.points)
        self.total_steps = 0

    def start(self, facts: Mapping[str, Any]) -> None:
        """Note where the run ends."""
        self.total_steps = int(facts["total_steps"])

    def record(self, event: Mapping[str, Any]) -> None:
        """Report the value of an evaluation; of one that a resumed run repeats, the same again."""
        plan = self.book.plan
        if plan.monitor not in event or "best" not in event or not self.every_epochs:
            return
        point = math.ceil(event["epoch"] / self.every_epochs - 1e-6)
        value = float(event[plan.monitor])
        if not math.isfinite(value):
            return
        earlier = [self.points[p] for p in self.points if p < point]
        best = earlier[-1] if earlier else value
        self.points[point] = value if plan.is_better(value, best) else best
        if point < max(self.points):
            return  # the trial went on from here before it was killed
        number = self.trial.number
        is_cut, rungs = judge(plan, self.book.frozen(), number, self.points)
        self.book.report(number, point, self.points[point], rungs)
        if event["step"] >= self.total_steps:
            return
        if is_cut:
            raise CutShort(f"after evaluation {point}, as {NAMES[plan.prune]} decided")
        if time.monotonic() > self.ends:
            raise CutShort(OUT_OF_TIME)

    def close(self) -> None:
        """There is nothing to close."""


def run_trial(
    book: Book,
    trial: Trial,
    settings: Settings,
    source: Any,
    listeners: list[Listener],
    *,
    trust_code: bool,
    ends: float,
) -> Trial:
    """Train a trial to its end, and record how it ended.

    A trial whose settings can't be trained is recorded as failed, one that diverges as cut short:
    then the search learns from it. Raises what stops the whole sweep: a signal, or a full disk.
    """
    folder = book.folder / trial.folder
    began = time.monotonic()
    every = settings.config.train.evaluate_every_epochs
    follower = Follower(book, trial, every, ends)
    typed = {**trial.values, "train.test": False}
    state, reason, value = COMPLETE, "", None
    try:
        train_in(folder, typed, settings, source, [*listeners, follower], trust_code=trust_code)
        value = best_value(folder, book.plan.monitor, book.plan.is_better)
    except CutShort as cut:
        state, reason = PRUNED, str(cut)
    except NumericError as error:
        state, reason = PRUNED, f"diverged: {error.message}"
    except (UsageError, DataError, VerdictError) as error:
        state, reason = FAILED, _explain(error)
    except ResourceError as error:
        if "memory" not in error.message or isinstance(error.__cause__, OSError):
            raise
        state, reason = FAILED, _explain(error)
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    seconds = max(time.monotonic() - began, training_seconds(folder))
    book.finish(trial.number, state, value, printable(reason, 500), seconds)
    return book.trials()[trial.number]


def train_in(
    folder: Path,
    typed: Mapping[str, Any],
    settings: Settings,
    source: Any,
    listeners: list[Listener],
    *,
    trust_code: bool,
) -> None:
    """Begin the run in `folder`, or continue it; does nothing if it is complete.

    Its settings are those of the sweep, replaced by `typed`.
    """
    if (folder / "metrics.json").is_file():
        return
    objects = UserObjects(source)
    if (folder / CONFIG).is_file():
        continue_run(folder, {}, objects, trust_code=trust_code, listeners=listeners)
        return
    if settings.is_open("train.report"):
        typed = {**typed, "train.report": False}
    recipe = str(folder.parent / CONFIG)
    train(source, typed, recipe, folder, listeners=listeners)


def best_value(folder: Path, monitor: str, is_better: Callable[[float, float], bool]) -> float:
    """The best validation value of a run; UsageError if it was never validated."""
    best: float | None = None
    for event in read_events(folder):
        value = event.get(monitor)
        if "best" in event and value is not None and (best is None or is_better(value, best)):
            best = float(value)
    if best is None:
        raise UsageError(
            "trials are compared on the validation split, and there is none",
            "set images aside for it: --set data.val_fraction=0.1",
        )
    return best


def training_seconds(folder: Path) -> float:
    """Seconds of training that the events of a run tell of."""
    seconds = 0.0
    with suppress(OSError):
        for event in read_events(folder):
            seconds = max(seconds, float(event.get("seconds") or 0.0))
    return seconds


def _explain(error: LoupeError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message
