"""The record of all trials, in Optuna's storage: a journal file in the folder, or PostgreSQL.

Every change is one record of the journal or one transaction, so that a process may be killed at
any moment: a trial is there with all its values, or not at all.
"""

import datetime
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from torchloupe.errors import CheckpointError, ResourceError, UsageError, printable
from torchloupe.studies.sweep.plan import Plan
from torchloupe.studies.sweep.space import Dimension

JOURNAL = "trials.journal"
RUNNING, COMPLETE, PRUNED, FAILED = "running", "complete", "pruned", "failed"
_REASON, _SECONDS = "reason", "seconds"


@dataclass(frozen=True)
class Trial:
    """One trial as the record has it."""

    number: int
    state: str  # running, complete, pruned or failed
    values: Mapping[str, Any]  # of the settings that are tried, by dotted name
    points: Mapping[int, float]  # the best validation value so far, after each evaluation
    value: float | None  # the best of all; of complete trials
    reason: str  # why it was cut short or failed
    seconds: float  # that it took, over all resumes

    @property
    def is_running(self) -> bool:
        """Whether it has not ended: it is being trained, or waits to be resumed."""
        return self.state == RUNNING

    @property
    def folder(self) -> str:
        """The name of its run folder."""
        return f"trial-{self.number:03d}"


class JournalLock:
    """Optuna's lock of a journal, held by the kernel: it is free once its process is dead.

    Whoever takes it removes a line that a killed process left half written.
    """

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self._lock = FileLock(journal.with_name(f".{journal.name}.lock"))

    def acquire(self) -> bool:
        """Wait for the lock; True, as Optuna wants it."""
        self._lock.acquire()
        remove_torn_line(self.journal)
        return True

    def release(self) -> None:
        """Let the next process write."""
        self._lock.release()


def remove_torn_line(journal: Path) -> None:
    """Cut off what stands after the last line end of a file."""
    with journal.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        at, tail = size, b""
        while at and b"\n" not in tail:
            length = min(4096, at)
            at -= length
            file.seek(at)
            tail = file.read(length) + tail
        whole = at + tail.rfind(b"\n") + 1
        if whole < size:
            file.truncate(whole)


class Book:
    """The trials of one sweep; every method reads or writes the storage."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        optuna = import_optuna()
        with answering(folder, plan.storage):
            self._storage = open_storage(folder, plan.storage)
            study = optuna.create_study(
                study_name=plan.name,
                storage=self._storage,
                direction=plan.direction,
                load_if_exists=True,
            )
            self._study = self._storage.get_study_id_from_name(study.study_name)
        self.folder = folder

    def frozen(self) -> list[Any]:
        """All trials as Optuna has them, by number."""
        with answering(self.folder, self.plan.storage):
            return sorted(
                self._storage.get_all_trials(self._study, deepcopy=False), key=lambda t: t.number
            )

    def trials(self) -> list[Trial]:
        """All trials, by number."""
        return [read_trial(each, self.plan) for each in self.frozen()]

    def begin(self, values: Mapping[str, Any]) -> Trial:
        """Record a new trial as running, with all its values at once."""
        optuna = import_optuna()
        template = optuna.trial.FrozenTrial(
            number=-1,
            trial_id=-1,
            state=optuna.trial.TrialState.RUNNING,
            value=None,
            datetime_start=datetime.datetime.now(),  # Optuna's own are without a zone
            datetime_complete=None,
            params=dict(values),
            distributions={d.name: distribution_of(d) for d in self.plan.space},
            user_attrs={},
            system_attrs={},
            intermediate_values={},
        )
        with answering(self.folder, self.plan.storage):
            number = self._storage.create_new_trial(self._study, template_trial=template)
            return read_trial(self._storage.get_trial(number), self.plan)

    def report(self, number: int, point: int, value: float, rungs: Mapping[str, float]) -> None:
        """Record the value after an evaluation, and the rungs of pruning that it reached."""
        with answering(self.folder, self.plan.storage):
            place = self._place(number)
            self._storage.set_trial_intermediate_value(place, point, value)
            for name, reached in rungs.items():
                self._storage.set_trial_system_attr(place, name, reached)

    def finish(
        self, number: int, state: str, value: float | None, reason: str, seconds: float
    ) -> None:
        """Record the end of a trial."""
        states = import_optuna().trial.TrialState
        ended = {COMPLETE: states.COMPLETE, PRUNED: states.PRUNED, FAILED: states.FAIL}[state]
        with answering(self.folder, self.plan.storage):
            place = self._place(number)
            self._storage.set_trial_user_attr(place, _REASON, reason)
            self._storage.set_trial_user_attr(place, _SECONDS, seconds)
            values = None if value is None else [value]
            self._storage.set_trial_state_values(place, ended, values)

    def spent_seconds(self) -> float:
        """How long the search has lasted, over all processes that took part one after another."""
        with answering(self.folder, self.plan.storage):
            known = self._storage.get_study_user_attrs(self._study)
        return float(known.get(_SECONDS, 0.0))

    def note_spent(self, seconds: float) -> None:
        """Record how long the search has lasted; never less than what is known."""
        if seconds > self.spent_seconds():
            with answering(self.folder, self.plan.storage):
                self._storage.set_study_user_attr(self._study, _SECONDS, seconds)

    def _place(self, number: int) -> int:
        return int(self._storage.get_trial_id_from_study_id_trial_number(self._study, number))


def import_optuna() -> Any:
    """Optuna, quiet; UsageError says how to install it."""
    try:
        import optuna
    except ImportError:
        raise UsageError(
            "a sweep needs Optuna, which is not installed", 'pip install "torchloupe[sweep]"'
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def open_storage(folder: Path, address: str) -> Any:
    """Optuna's storage: the journal in `folder`, or the PostgreSQL database at `address`."""
    optuna = import_optuna()
    if not address:
        journal = folder / JOURNAL
        lock = JournalLock(journal)
        backend = optuna.storages.journal.JournalFileBackend(str(journal), lock_obj=lock)
        return optuna.storages.JournalStorage(backend)
    try:
        import psycopg  # noqa: F401  (SQLAlchemy finds it by the address)
        from sqlalchemy.pool import NullPool
    except ImportError:
        raise UsageError(
            "PostgreSQL needs psycopg, which is not installed",
            'pip install "torchloupe[postgresql]"',
        ) from None
    url = "postgresql+psycopg://" + address.partition("://")[2]
    # A connection for each question: none is left open, or found dead after a restart.
    return optuna.storages.RDBStorage(url, engine_kwargs={"poolclass": NullPool})


def distribution_of(dimension: Dimension) -> Any:
    """What Optuna calls the values of a dimension."""
    distributions = import_optuna().distributions
    if not dimension.is_range:
        return distributions.CategoricalDistribution(dimension.choices)
    kind: Any = float
    name = "FloatDistribution"
    if dimension.is_whole:
        kind, name = int, "IntDistribution"
    step = {"step": kind(dimension.step)} if dimension.step else {}
    make = getattr(distributions, name)
    return make(kind(dimension.low), kind(dimension.high), log=dimension.is_log, **step)


def read_trial(frozen: Any, plan: Plan) -> Trial:
    """A Trial out of Optuna's."""
    names = {"COMPLETE": COMPLETE, "PRUNED": PRUNED, "FAIL": FAILED}
    order = [dimension.name for dimension in plan.space if dimension.name in frozen.params]
    state = names.get(frozen.state.name, RUNNING)
    return Trial(
        number=frozen.number,
        state=state,
        values={name: frozen.params[name] for name in order},
        points=dict(sorted(frozen.intermediate_values.items())),
        value=frozen.value if state == COMPLETE else None,
        reason=str(frozen.user_attrs.get(_REASON, "")),
        seconds=float(frozen.user_attrs.get(_SECONDS, 0.0)),
    )


@contextmanager
def answering(folder: Path, address: str) -> Iterator[None]:
    """A context in which a storage that fails is a ResourceError that names it."""
    optuna = import_optuna()
    place = "the database" if address else printable(folder / JOURNAL)
    try:
        yield
    except optuna.exceptions.StorageInternalError as error:
        cause = error.__cause__ or error
        raise ResourceError(
            f"{place} of the sweep does not answer: {printable(str(cause).splitlines()[0])}",
            f"make it work, then: loupe resume {printable(folder)}",
        ) from error
    except (ValueError, KeyError) as error:
        raise CheckpointError(
            f"{place} of the sweep is damaged: {printable(error)}",
            "restore it, or begin a new sweep; its runs are whole",
        ) from error
    except OSError as error:
        raise ResourceError(
            f"can't use {place} of the sweep: {error.strerror or error}",
            f"make it work, then: loupe resume {printable(folder)}",
        ) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "sqlalchemy":
            raise
        raise ResourceError(
            f"{place} of the sweep does not answer: {printable(str(error).splitlines()[0])}",
            f"make it work, then: loupe resume {printable(folder)}",
        ) from error
