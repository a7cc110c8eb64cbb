"""Cross-validation: one run for each fold, and a summary of all.

Each fold is an ordinary run in its own folder. The summary reads their metrics and predictions
from disk, so that it can be made again at any time.
"""

import copy
import shlex
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import nn

from torchloupe.config.settings import read_settings
from torchloupe.data.split import refuse_folds
from torchloupe.display.terminal import make_display
from torchloupe.display.waiting import waiting_line
from torchloupe.errors import Interrupted, Terminated, UsageError, printable
from torchloupe.evaluation.folds import corrected_t_interval, within_shares
from torchloupe.evaluation.intervals import wilson_interval
from torchloupe.prepare.data import open_source
from torchloupe.prepare.objects import NO_OBJECTS, UserObjects, refuse_misspelt
from torchloupe.run.events import Announcement, Note, read_events
from torchloupe.run.json_files import read_json, write_json
from torchloupe.run.listener import Listener
from torchloupe.run.places import FOLDS, create_run
from torchloupe.studies.folds_page import write_folds_page
from torchloupe.system import files
from torchloupe.train.arguments import (
    LossLike,
    OptimizerLike,
    Recipe,
    SettingsLike,
    name_source,
    sort_arguments,
)
from torchloupe.train.changes import refuse_untrusted
from torchloupe.train.start import continue_run, decide, train
from torchloupe.trained.run import Run

Listening = Callable[[], AbstractContextManager[Sequence[Listener]]]


@dataclass(frozen=True)
class CrossValidation:
    """A finished cross-validation; `metrics` is the content of its folds.json."""

    folder: Path
    runs: tuple[Path, ...]  # the run folder of each fold
    metrics: dict[str, Any]


def cross_validate(
    data: Any,
    *,
    folds: int = 5,
    model: str | nn.Module | Callable[..., nn.Module] = "auto",
    loss: LossLike = "auto",
    optimizer: OptimizerLike = "auto",
    epochs: float | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    out: str | Path | None = None,
    settings: SettingsLike = None,
) -> CrossValidation:
    """Train and test `folds` times, each time with another fold held out.

    Everything but `folds` is as in `fit`. Folds are stratified; identical images are in the same
    fold; each image is tested once, by a model that was not trained on it. A model given as an
    object starts each fold from the weights it was given with.
    """
    given = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed, "device": device}
    typed, recipe, objects = sort_arguments(model, loss, optimizer, given, settings)
    typed["data.folds"] = folds
    return train_folds(data, typed, recipe, out, objects=objects, listening=_showing)


def train_folds(
    source: Any,
    typed: Mapping[str, Any],
    recipe: Recipe = None,
    out: str | Path | None = None,
    *,
    objects: UserObjects = NO_OBJECTS,
    listening: Listening = lambda: nullcontext(()),
    started: Callable[[Path], object] = lambda _: None,
) -> CrossValidation:
    """A run for each of the folds that the settings ask for, in OUT/fold-1 and so on.

    Each fold gets its own copy of `objects`. `listening` gives the listeners of one fold, and
    `started` hears of the folder as soon as it can be resumed.
    """
    typed = {**name_source(source), **typed}
    settings = decide(typed, recipe)
    config = settings.config
    refuse_misspelt(config, objects)
    data = open_source(config.data, source)  # read once; and refused before a folder is made
    if data.kind == "stream":
        raise UsageError(
            "a stream has no list of images that could be dealt into folds",
            "give the images as a folder, table, array or map-style Dataset",
        )
    refuse_folds(data.samples, data.given, config.data.folds)
    folder = create_run(None if out is None else Path(out), f"{data.name}-folds")
    write_json(folder / FOLDS, {"folds": config.data.folds})
    write_json(folder / "config.json", settings.to_json())
    started(folder)

    def begin(fold: Mapping[str, Any], run: Path, listeners: Sequence[Listener]) -> Run:
        own = copy.deepcopy(objects)
        return train(data, {**typed, **fold}, recipe, run, objects=own, listeners=listeners)

    return _go_through(folder, listening, begin, partial(continue_run, objects=UserObjects(data)))


def resume_folds(
    folder: str | Path,
    *,
    trust_code: bool = False,
    listening: Listening = lambda: nullcontext(()),
) -> CrossValidation:
    """Resume a cross-validation; finished folds stay as they are."""
    path = Path(folder)
    config = read_settings(path / "config.json").config
    refuse_untrusted(config, path, NO_OBJECTS, trust_code, asked=set())
    data = open_source(config.data, config.data.source)

    def begin(fold: Mapping[str, Any], run: Path, listeners: Sequence[Listener]) -> Run:
        return train(data, fold, str(path / "config.json"), run, listeners=listeners)

    go_on = partial(continue_run, objects=UserObjects(data), trust_code=trust_code)
    return _go_through(path, listening, begin, go_on)


def _go_through(
    folder: Path, listening: Listening, begin: Callable[..., Run], go_on: Callable[..., Run]
) -> CrossValidation:
    """Start or resume every unfinished fold, and write the summary."""
    count = int(read_json(folder / FOLDS)["folds"])
    runs = tuple(folder / f"fold-{number}" for number in range(1, count + 1))
    for number, run in enumerate(runs, start=1):
        if (run / "metrics.json").exists():
            continue
        with listening() as listeners:
            for listener in listeners:
                listener.record(Announcement(f"fold {number} of {count}"))
            try:
                if (run / "config.json").exists():
                    go_on(run, {}, listeners=listeners)
                else:
                    begin({"data.fold": number}, run, listeners)
            except (Interrupted, Terminated) as error:
                hint = f"loupe resume {shlex.quote(printable(folder))} continues with all folds"
                raise type(error)(error.message, hint) from None
    metrics = sum_up(folder, runs)
    write_json(folder / FOLDS, metrics)
    if read_settings(folder / "config.json").config.train.report:
        _leave_page(folder, listening)
    return CrossValidation(folder, runs, metrics)


def _leave_page(folder: Path, listening: Listening) -> None:
    """Write the page of all folds; a failure is a note."""
    try:
        write_folds_page(folder)
    except Exception as error:
        with listening() as listeners:
            for listener in listeners:
                listener.record(Note(f"report.html was not written ({printable(error)})"))


def sum_up(folder: Path, runs: Sequence[Path]) -> dict[str, Any]:
    """Mean, standard deviation and 95 % interval over the folds; all predictions as one table.

    The interval is Nadeau and Bengio's: folds share most of their training images.
    """
    tests = [read_json(run / "metrics.json")["test"] for run in runs]
    tables = [pq.read_table(run / "predictions.parquet") for run in runs]
    right = sum(
        given == found
        for table in tables
        for given, found in zip(
            table["label"].to_pylist(), table["prediction"].to_pylist(), strict=True
        )
    )
    total = sum(len(table) for table in tables)
    mean_count = total / len(runs)
    counts = (_trained_on(runs[0], total - mean_count), mean_count)
    numbered = [
        table.append_column("fold", pa.array([number] * len(table), pa.int32()))
        for number, table in enumerate(tables, start=1)
    ]
    with files.replacing(folder / "predictions.parquet") as file:
        pq.write_table(pa.concat_tables(numbered), file)
    return {
        "folds": len(runs),
        **_spread("accuracy", tests, counts),
        **_spread("macro_f1", tests, counts),
        "pooled": {
            "accuracy": right / total,
            "accuracy_ci95": list(wilson_interval(right, total)),
            "count": total,
        },
        "runs": [
            {
                "folder": run.name,
                "accuracy": test["accuracy"],
                "macro_f1": test["macro_f1"],
                "count": test["count"],
                "seconds": _training_seconds(run),
            }
            for run, test in zip(runs, tests, strict=True)
        ],
    }


def _training_seconds(run: Path) -> float:
    """Seconds of the steps, and of solving the head before them."""
    heads = sum(event.get("stage_seconds", 0.0) for event in read_events(run))
    return float(read_json(run / "metrics.json")["train"]["seconds"] + heads)


def _trained_on(run: Path, otherwise: float) -> float:
    """How many images `run` trained on, as its environment.json says."""
    data = read_json(run / "environment.json").get("data") or {}
    return float(data.get("train") or otherwise)


def _spread(
    name: str, tests: Sequence[Mapping[str, Any]], counts: tuple[float, float]
) -> dict[str, Any]:
    """`counts`: images to train and to test on, in each fold."""
    values = [float(test[name]) for test in tests]
    mean, *interval = corrected_t_interval(values, *counts)
    return {
        f"{name}_mean": mean,
        f"{name}_std": statistics.stdev(values),
        f"{name}_ci95": list(within_shares(interval)),
    }


@contextmanager
def _showing() -> Iterator[list[Listener]]:
    """The listeners of one fold: a display on stderr."""
    with waiting_line() as line:
        line.say("reading the data")
        display = make_display(quiet=False)
        try:
            yield [display]
        finally:
            display.close()
