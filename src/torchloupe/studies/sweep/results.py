"""The end of a sweep: the winner tested once, and all that is known, in OUT/results.json."""

import statistics
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torchloupe.config.settings import Settings, read_settings
from torchloupe.errors import UsageError, printable
from torchloupe.prepare.objects import UserObjects
from torchloupe.run.json_files import read_json, write_json
from torchloupe.studies.sweep.book import (
    COMPLETE,
    FAILED,
    PRUNED,
    Book,
    Trial,
    distribution_of,
    import_optuna,
)
from torchloupe.studies.sweep.page import write_sweep_page
from torchloupe.studies.sweep.plan import CONFIG, Plan, read_plan
from torchloupe.studies.sweep.repeats import (
    Standing,
    candidates_of,
    find_winner,
    is_repeated,
    rank,
)
from torchloupe.train.start import continue_run

RESULTS = "results.json"
_FEWEST = 4  # complete trials, before importance means anything
_TREES_SEED = 0


def finish_sweep(
    folder: Path,
    plan: Plan,
    settings: Settings,
    book: Book,
    source: Any,
    *,
    trust_code: bool,
) -> None:
    """Test the winner, and write results.json and the page. Repeated, it gives the same."""
    trials = book.trials()
    winner = find_winner(plan, folder, trials)
    if winner is None:
        raise UsageError(explain_no_winner(trials), "give fewer --epochs, or more --minutes")
    run = folder / winner.trial.folder
    wanted: dict[str, Any] = {"train.test": True}
    if settings.is_open("train.report"):
        wanted["train.report"] = True
    if not read_settings(run / CONFIG).config.train.test or "test" not in _metrics(run):
        continue_run(run, wanted, UserObjects(source), trust_code=trust_code)
    results = sum_up(folder, plan, book, winner)
    if settings.config.train.report:
        try:
            write_sweep_page(folder, plan, trials, results)
        except Exception as error:  # the results are complete without their page
            results["notes"].append(f"report.html was not written ({printable(error)})")
    write_json(folder / RESULTS, results)


def report_sweep(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a sweep, finished or not; returns its path."""
    plan, _ = read_plan(folder)
    book = Book(plan, folder)
    path = folder / RESULTS
    results = read_json(path) if path.is_file() else sum_up(folder, plan, book, None)
    return write_sweep_page(folder, plan, book.trials(), results, out)


def explain_no_winner(trials: Sequence[Trial]) -> str:
    """Why there is none: how the trials ended."""
    cut = [trial for trial in trials if trial.state == PRUNED]
    if not trials:
        return "the time was over before the first trial"
    last = (cut or list(trials))[-1].reason
    return f"none of {len(trials)} trials was trained to its end; the last: {last}"


def sum_up(folder: Path, plan: Plan, book: Book, winner: Standing | None) -> dict[str, Any]:
    """Plain values: how many trials ended how, the ranking, importance, and the winner."""
    trials = book.trials()
    states = [trial.state for trial in trials]
    found: dict[str, Any] = {
        "trials": len(trials),
        "complete": states.count(COMPLETE),
        "cut_short": states.count(PRUNED),
        "failed": states.count(FAILED),
        "running": sum(trial.is_running for trial in trials),
        "monitor": plan.monitor,
        "seconds": sum(trial.seconds for trial in trials),
        "importance": measure_importance(plan, book),
        "repeated": [
            describe_standing(plan, folder, each)
            for each in rank(plan, folder, trials)
            if is_repeated(each)
        ],
        "winner": None,
        "notes": [],
    }
    if winner is not None:
        run = folder / winner.trial.folder
        found["winner"] = {
            **describe_standing(plan, folder, winner),
            "test": _metrics(run).get("test"),
        }
    return found


def describe_standing(plan: Plan, folder: Path, each: Standing) -> dict[str, Any]:
    """A trial with its settings, its value and those of its repeats."""
    values = list(each.values)
    return {
        "trial": each.trial.number,
        "run": each.trial.folder,
        "settings": dict(each.trial.values),
        "value": each.trial.value,
        "repeats": {
            "runs": [run.folder.name for run in candidates_of(plan, folder, each.trial)],
            "values": values,
            "diverged": each.diverged,
            "mean": statistics.fmean(values) if values else None,
            "std": statistics.stdev(values) if len(values) > 1 else None,
        }
        if is_repeated(each)
        else None,
    }


def measure_importance(plan: Plan, book: Book) -> dict[str, float] | None:
    """How much of the variance of the complete trials each setting explains (fANOVA, Hutter et
    al. 2014), the largest first; None where there are too few trials.
    """
    optuna = import_optuna()
    complete = [trial for trial in book.frozen() if trial.state.name == "COMPLETE"]
    if len(complete) < _FEWEST or len({trial.value for trial in complete}) < 2:
        return None
    study = optuna.create_study(direction=plan.direction)
    study.add_trials(complete)
    varied = [d.name for d in plan.space if not distribution_of(d).single()]
    with suppress(ValueError, RuntimeError):  # a setting that all of them share
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=_TREES_SEED)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator, params=varied)
        return {name: float(share) for name, share in shares.items()}
    return None


def _metrics(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(run / "metrics.json")
    return found
