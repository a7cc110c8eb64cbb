"""The work of a sweep, handed out piece by piece: trials, then repeats, then the winner's test.

Any number of processes do it together. What is next is a function of the record and the folder,
so that a process may be killed at any moment and another one goes on.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from torchloupe.config.settings import Settings
from torchloupe.errors import UsageError
from torchloupe.run.listener import Listener
from torchloupe.studies.sweep.book import COMPLETE, FAILED, Book, Trial
from torchloupe.studies.sweep.claims import Claims
from torchloupe.studies.sweep.plan import Plan
from torchloupe.studies.sweep.repeats import Candidate, next_repeats, repeat
from torchloupe.studies.sweep.results import RESULTS, finish_sweep
from torchloupe.studies.sweep.sampling import propose
from torchloupe.studies.sweep.space import spell
from torchloupe.studies.sweep.trial_run import run_trial
from torchloupe.units import format_seconds

POLL_SECONDS = 0.5  # between two looks at what the other workers do
FAILURES = 3  # trials that fail, all that there are, before the sweep gives up

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Sweeping:
    """One process at work on a sweep."""

    folder: Path
    plan: Plan
    settings: Settings  # that all trials share
    source: Any  # the data, opened once
    book: Book
    claims: Claims
    trust_code: bool
    tell: Tell
    listeners: Callable[[], list[Listener]]


def work(sweeping: Sweeping) -> None:
    """Do whatever is left of a sweep and not done by another worker; returns when all is done."""
    threads = torch.get_num_threads()
    clock = Clock(sweeping.plan, sweeping.book)
    search(sweeping, clock, threads)
    while not (sweeping.folder / RESULTS).is_file():
        if not go_on_after_search(sweeping, threads):
            time.sleep(POLL_SECONDS)
    sweeping.claims.clear()


class Clock:
    """How much of the minutes is spent, over all processes that took part one after another."""

    def __init__(self, plan: Plan, book: Book) -> None:
        self.plan, self.book = plan, book
        self._began = time.monotonic() - book.spent_seconds()

    @property
    def ends(self) -> float:
        """When the search ends, as `time.monotonic()` tells it."""
        seconds = 60 * self.plan.minutes
        return self._began + seconds if seconds else float("inf")

    def note(self) -> None:
        """Record what is spent, for a process that goes on later."""
        if self.plan.minutes:
            self.book.note_spent(time.monotonic() - self._began)

    def has_room(self, trials: Sequence[Trial]) -> bool:
        """Whether one more trial, and the repeats after it, are likely to end in time."""
        if not self.plan.minutes:
            return True
        took = [trial.seconds for trial in trials if trial.state == COMPLETE]
        usual = statistics.median(took) if took else 0.0
        return time.monotonic() + usual * (1 + self.plan.repeat) < self.ends


def search(sweeping: Sweeping, clock: Clock, threads: int) -> None:
    """Train trials until there are enough, also those that a dead worker left."""
    while True:
        found = take_trial(sweeping, clock)
        if found is None:
            return
        if isinstance(found, Waiting):
            time.sleep(POLL_SECONDS)
            continue
        trial, lock = found
        try:
            say_begin(sweeping, trial)
            torch.set_num_threads(threads)  # a trial may have measured another number
            done = run_trial(
                sweeping.book,
                trial,
                sweeping.settings,
                sweeping.source,
                sweeping.listeners(),
                trust_code=sweeping.trust_code,
                ends=clock.ends,
            )
            clock.note()
            say_end(sweeping, done)
        finally:
            lock.release()


class Waiting:
    """Nothing can be begun, but others are still at work."""


def take_trial(sweeping: Sweeping, clock: Clock) -> tuple[Trial, FileLock] | Waiting | None:
    """A trial that no living process works on, or a new one; None when the search has ended."""
    plan, book = sweeping.plan, sweeping.book
    with sweeping.claims.alone():
        frozen = book.frozen()
        trials = book.trials()
        running = [trial for trial in trials if trial.is_running]
        for trial in running:
            lock = sweeping.claims.take(trial.folder)
            if lock is not None:
                return trial, lock
        refuse_failures(trials)
        enough = plan.trials and len(trials) >= plan.trials
        if not enough and clock.has_room(trials):
            values = propose(plan, frozen)
            if values is not None:
                lock = sweeping.claims.take(f"trial-{len(trials):03d}")
                if lock is None:  # held by a process that has just recorded its end
                    return Waiting()
                return book.begin(values), lock
    return Waiting() if running else None


def refuse_failures(trials: Sequence[Trial]) -> None:
    """UsageError if the first trials all failed: then the others would, too."""
    if len(trials) >= FAILURES and all(trial.state == FAILED for trial in trials):
        raise UsageError(
            f"all of the first {len(trials)} trials failed; the last: {trials[-1].reason}",
            "train one with these settings: loupe train DATA --set NAME=VALUE",
        )


def go_on_after_search(sweeping: Sweeping, threads: int) -> bool:
    """Do one repeat that nobody does, or test the winner; False if others do what is left."""
    trials = sweeping.book.trials()
    left = next_repeats(sweeping.plan, sweeping.folder, trials)
    for each in left:
        lock = sweeping.claims.take(each.folder.name)
        if lock is None:
            continue
        try:
            sweeping.tell(f"{each.trial.folder} with seed {each.seed}")
            torch.set_num_threads(threads)
            _repeat(sweeping, each)
        finally:
            lock.release()
        return True
    if left:
        return False
    lock = sweeping.claims.take("winner")
    if lock is None:
        return False
    try:
        torch.set_num_threads(threads)
        finish_sweep(
            sweeping.folder,
            sweeping.plan,
            sweeping.settings,
            sweeping.book,
            sweeping.source,
            trust_code=sweeping.trust_code,
        )
    finally:
        lock.release()
    return True


def _repeat(sweeping: Sweeping, each: Candidate) -> None:
    repeat(
        each,
        sweeping.settings,
        sweeping.source,
        sweeping.listeners(),
        trust_code=sweeping.trust_code,
    )


def say_begin(sweeping: Sweeping, trial: Trial) -> None:
    """Tell which trial begins, or goes on, with which settings."""
    is_new = not (sweeping.folder / trial.folder / "config.json").is_file()
    of = f" of {sweeping.plan.trials}" if sweeping.plan.trials else ""
    values = ", ".join(f"{name}={spell(value)}" for name, value in trial.values.items())
    verb = "" if is_new else " goes on"
    sweeping.tell(f"trial {trial.number + 1}{of}{verb}: {values}")


def say_end(sweeping: Sweeping, trial: Trial) -> None:
    """Tell how a trial ended."""
    if trial.state == COMPLETE and trial.value is not None:
        result = f"{sweeping.plan.monitor} {trial.value:.4f}"
    else:
        result = f"{'cut short' if trial.state != FAILED else 'failed'}: {trial.reason}"
    sweeping.tell(f"  {result} ({format_seconds(trial.seconds)})")
