"""The best settings trained again with other seeds, before they are believed.

The best of many trials is partly the luckiest. Its settings are trained with further seeds on the
same split; while their mean is below the value of the next trial, that one is repeated too.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchloupe.config.settings import Settings
from torchloupe.errors import NumericError
from torchloupe.run.json_files import write_json
from torchloupe.run.listener import Listener
from torchloupe.studies.sweep.book import COMPLETE, Trial
from torchloupe.studies.sweep.plan import Plan
from torchloupe.studies.sweep.trial_run import best_value, train_in

MOST_REPEATED = 3  # trials whose settings are repeated, at most
DIVERGED = "diverged.json"  # in the folder of a repeat whose loss became infinite


@dataclass(frozen=True)
class Candidate:
    """One more run with the settings of a trial and another seed."""

    trial: Trial
    seed: int
    folder: Path

    @property
    def is_done(self) -> bool:
        """Whether it was trained to its end, or diverged."""
        return (self.folder / "metrics.json").is_file() or self.has_diverged

    @property
    def has_diverged(self) -> bool:
        """Whether these settings can't be trained with this seed."""
        return (self.folder / DIVERGED).is_file()


@dataclass(frozen=True)
class Standing:
    """How a trial stands: by its own value, or by those of its repeats where there are some."""

    trial: Trial
    values: tuple[float, ...]  # of the repeats; empty if it was not repeated
    diverged: int = 0  # repeats without a value

    def score(self, plan: Plan) -> float:
        """The value that it is ranked by; the worst possible if a repeat diverged."""
        if self.diverged:
            return float("inf") if plan.minimises else float("-inf")
        own = self.trial.value
        assert own is not None  # of complete trials only
        return statistics.fmean(self.values) if self.values else own


def candidates_of(plan: Plan, folder: Path, trial: Trial) -> list[Candidate]:
    """The repeats of one trial; the seeds follow that of the sweep."""
    return [
        Candidate(trial, plan.seed + k, folder / f"{trial.folder}-seed-{plan.seed + k}")
        for k in range(1, plan.repeat + 1)
    ]


def stand(plan: Plan, folder: Path, trial: Trial) -> Standing:
    """How a trial stands now; its repeats count once all of them are done."""
    runs = candidates_of(plan, folder, trial)
    if not runs or not all(run.is_done for run in runs):
        return Standing(trial, ())
    values = tuple(
        best_value(run.folder, plan.monitor, plan.is_better) for run in runs if not run.has_diverged
    )
    return Standing(trial, values, len(runs) - len(values))


def rank(plan: Plan, folder: Path, trials: Sequence[Trial]) -> list[Standing]:
    """The complete trials, the best first; of equal ones the earlier."""
    complete = [stand(plan, folder, trial) for trial in trials if trial.state == COMPLETE]
    sign = 1 if plan.minimises else -1
    return sorted(complete, key=lambda each: (sign * each.score(plan), each.trial.number))


def next_repeats(plan: Plan, folder: Path, trials: Sequence[Trial]) -> list[Candidate]:
    """The repeats that are left before a winner is known; empty when it is."""
    if not plan.repeat:
        return []
    ranked = rank(plan, folder, trials)
    repeated = [each for each in ranked if each.values or each.diverged]
    if not ranked or is_repeated(ranked[0]) or len(repeated) >= MOST_REPEATED:
        return []
    return [run for run in candidates_of(plan, folder, ranked[0].trial) if not run.is_done]


def find_winner(plan: Plan, folder: Path, trials: Sequence[Trial]) -> Standing | None:
    """The best of the repeated trials, or of all where none is repeated; None without any."""
    ranked = rank(plan, folder, trials)
    return next((each for each in ranked if is_repeated(each) or not plan.repeat), None)


def is_repeated(standing: Standing) -> bool:
    """Whether a trial's repeats are all done."""
    return bool(standing.values or standing.diverged)


def repeat(
    run: Candidate,
    settings: Settings,
    source: Any,
    listeners: list[Listener],
    *,
    trust_code: bool,
) -> None:
    """Train one repeat to its end, on the split of the trials."""
    config = settings.config
    typed = {
        **run.trial.values,
        "train.test": False,
        "train.seed": run.seed,
        "data.split_seed": config.data.seed_of_split(config.train.seed),
    }
    try:
        train_in(run.folder, typed, settings, source, listeners, trust_code=trust_code)
    except NumericError as error:
        write_json(run.folder / DIVERGED, {"reason": error.message})
