"""The page of a sweep: the winner with its interval, what mattered, and every trial."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torchloupe.errors import printable
from torchloupe.report.document import fill_page
from torchloupe.studies.sweep.book import COMPLETE, PRUNED, Trial
from torchloupe.studies.sweep.plan import Plan
from torchloupe.studies.sweep.space import Dimension, spell
from torchloupe.system import files
from torchloupe.trained.facts.images import ImageTable
from torchloupe.trained.report import PAGE

_MOST_LINES = 300  # trials that are drawn as lines: the best ones


def write_sweep_page(
    folder: Path,
    plan: Plan,
    trials: Sequence[Trial],
    results: Mapping[str, Any],
    out: Path | None = None,
) -> Path:
    """Write OUT/report.html, or `out`, from what is known so far; returns its path."""
    path = out or folder / PAGE
    files.replace_file(path, make_sweep_page(folder, plan, trials, results).encode())
    return path


def make_sweep_page(
    folder: Path, plan: Plan, trials: Sequence[Trial], results: Mapping[str, Any]
) -> str:
    """The page as HTML."""
    importance = results["importance"]
    charts: dict[str, Any] = {"trials": trials_chart(plan, trials)}
    if any(value_of(trial) is not None for trial in trials):
        charts["parallel"] = parallel_chart(plan, trials)
    if importance:
        charts["importance"] = {
            "kind": "bars",
            "title": "share of the differences between trials that each setting explains",
            "names": ["share"],
            "x": {"label": "share", "unit": "%"},
            "y": {},
            "rows": [{"name": name, "parts": [share]} for name, share in importance.items()],
        }
    facts: dict[str, Any] = {
        "charts": charts,
        "classes": [],
        "images": ImageTable(None, None).columns(),
        "map": None,
        "sprite": None,
        "is_live": False,
    }
    rows = [describe_row(folder, plan, trial) for trial in trials]
    values = {
        "title": f"{printable(folder.resolve().name, 80)}: {len(trials)} trials",
        "page": {"facts": facts, "sprite": None, "shots": None},
        "facts": facts,
        "plan": plan,
        "results": results,
        "monitor": name_monitor(plan),
        "is_share": not plan.minimises,
        "rows": rows,
        "names": [dimension.name for dimension in plan.space],
        "charts": charts,
    }
    return fill_page("sweep.html", values)


def name_monitor(plan: Plan) -> str:
    """What trials are compared by, in words."""
    return plan.monitor.replace("val_", "validation ").replace("_", " ")


def value_of(trial: Trial) -> float | None:
    """The value of a trial, or the last one known of a trial that was cut short or goes on."""
    if trial.value is not None:
        return trial.value
    return list(trial.points.values())[-1] if trial.points else None


def trials_chart(plan: Plan, trials: Sequence[Trial]) -> dict[str, Any]:
    """The value of each trial in their order, and the best so far."""
    unit = {} if plan.minimises else {"unit": "%"}
    series: list[dict[str, Any]] = []
    for name, wanted in (("complete", COMPLETE), ("cut short", PRUNED)):
        found = [t for t in trials if t.state == wanted and value_of(t) is not None]
        if found:
            line = {"x": [t.number for t in found], "y": [value_of(t) for t in found]}
            series.append({"name": name, "dots": True, **line})
    best: list[float] = []
    numbers: list[int] = []
    for trial in trials:
        if trial.value is None:
            continue
        better = not best or plan.is_better(trial.value, best[-1])
        best.append(trial.value if better else best[-1])
        numbers.append(trial.number)
    if best:
        series.append({"name": "best so far", "x": numbers, "y": best})
    return {
        "kind": "lines",
        "title": f"{name_monitor(plan)} of each trial",
        "x": {"label": "trial", "from": -0.5, "to": max(len(trials), 1) - 0.5},
        "y": {"label": name_monitor(plan), **unit},
        "series": series,
    }


def parallel_chart(plan: Plan, trials: Sequence[Trial]) -> dict[str, Any]:
    """Parallel coordinates: an axis for each setting and one for the value, a line a trial."""
    known = [(value, trial) for trial in trials if (value := value_of(trial)) is not None]
    known.sort(key=lambda each: each[0], reverse=not plan.minimises)
    known = known[:_MOST_LINES]
    values = [value for value, _ in known]
    low, high = min(values), max(values)
    room = high - low or 1.0
    lines = []
    for value, trial in known:
        places = [d.place(trial.values[d.name]) for d in plan.space]
        height = (value - low) / room
        lines.append(
            {
                "name": trial.folder,
                "at": [*places, height],
                "texts": [*(spell(trial.values[d.name]) for d in plan.space), show(plan, value)],
                "shade": 1 - height if plan.minimises else height,
                "isCut": trial.state != COMPLETE,
            }
        )
    axes = [{"label": d.name, "marks": marks_of(d)} for d in plan.space]
    ends = [[0.0, show(plan, low)], [1.0, show(plan, high)]] if high > low else []
    axes.append({"label": name_monitor(plan), "marks": ends or [[0.0, show(plan, low)]]})
    return {
        "kind": "parallel",
        "title": "settings and value of each trial",
        "axes": axes,
        "lines": lines,
    }


def marks_of(dimension: Dimension) -> list[list[Any]]:
    """Places and texts along the axis of a setting."""
    if not dimension.is_range:
        return [[dimension.place(choice), spell(choice)] for choice in dimension.choices]
    return [[dimension.place(end), spell(end)] for end in dimension.ends()]


def describe_row(folder: Path, plan: Plan, trial: Trial) -> dict[str, Any]:
    """A trial as a row of the table."""
    value = value_of(trial)
    return {
        "folder": trial.folder,
        "has_page": (folder / trial.folder / PAGE).is_file(),
        "state": "cut short" if trial.state == PRUNED else trial.state,
        "reason": trial.reason,
        "value": value,
        "shown": show(plan, value),
        "values": [spell(trial.values[d.name]) for d in plan.space],
        "sorted": [d.place(trial.values[d.name]) for d in plan.space],
        "evaluations": len(trial.points),
        "seconds": trial.seconds,
    }


def show(plan: Plan, value: float | None) -> str:
    """A validation value as text."""
    if value is None:
        return "-"
    return f"{value:.4f}" if plan.minimises else f"{100 * value:.2f} %"
