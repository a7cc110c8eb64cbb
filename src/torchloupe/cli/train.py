"""`loupe train`: from the command line to typed settings, and the result."""

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from torchloupe.cli.gpus import is_first_rank, refuse_ranks, run_on_ranks
from torchloupe.cli.options import (
    Device,
    Json,
    Precision,
    Quiet,
    Set,
    amount,
    folds_count,
    results_only,
    whole_number,
)
from torchloupe.errors import UsageError, printable
from torchloupe.run.places import FOLDS
from torchloupe.system.collector import collector_off

Epochs = Annotated[
    float | None,
    typer.Option(
        "--epochs", metavar="N", parser=amount, help="Passes over the data; chosen if left out."
    ),
]
Minutes = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        metavar="M",
        parser=amount,
        help="Finish within M minutes in total, instead of a number of epochs.",
    ),
]


Gpus = Annotated[
    str | None,
    typer.Option("--gpus", metavar="N|all", help="How many GPUs of this machine; 1 if left out."),
]
Parallel = Annotated[
    str | None,
    typer.Option(
        "--parallel",
        metavar="P",
        help="How several GPUs share the work: ddp (the default), fsdp, or dp in one process.",
    ),
]


def train(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A folder with a folder of images per class, or train, val and test folders of "
            "these; a .csv, .tsv or .parquet of paths and labels; .npz or IDX arrays; tar shards; "
            "digits; torchvision:NAME; file.py:NAME.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="M",
            help="net, cnn, residual, torchvision:NAME, timm:NAME, file.py:Class or "
            "package.module:Class; chosen if left out.",
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy",
            metavar="S",
            help="head: fit the last layer of a pretrained network; finetune: then train all "
            "layers; scratch: train from random weights. Chosen if left out.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="FILE",
            help="Pretrained weights for the model: .safetensors, or a .pth of tensors only.",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            metavar="RUN",
            help="A run of the same classes, whose answers are learned beside the labels.",
        ),
    ] = None,
    epochs: Epochs = None,
    minutes: Minutes = None,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds",
            metavar="K",
            parser=folds_count,
            help="Cross-validate: train K runs, each tested on another K-th of the images.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="RUN", help="The new run folder; runs/NAME-001 if left out."),
    ] = None,
    go_on: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run in --out if it has begun: for torchrun restarts."
        ),
    ] = False,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="R",
            help="file.py:function that returns a Config, or the config.json of a run.",
        ),
    ] = None,
    settings: Set = None,
    device: Device = None,
    gpus: Gpus = None,
    parallel: Parallel = None,
    precision: Precision = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", parser=whole_number, help="The random seed."),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Allow torchvision:NAME to fetch its files.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a classifier and leave a run folder.

    Progress goes to stderr; stdout then has the test accuracy, its 95 % interval and what is next.

    loupe train digits

    loupe train photos/ --minutes 5

    loupe train photos/ --folds 5

    loupe train labels.csv --model timm:resnet18 --set optimizer.lr=3e-4

    loupe train my_data.py:dataset --model my_model.py:Net --epochs 3
    """
    typed = collect_settings(
        {
            "data.source": data,
            "model.name": model,
            "model.weights": weights,
            "train.strategy": strategy,
            "distill.teacher": teacher,
            "train.epochs": epochs,
            "train.minutes": minutes,
            "data.folds": folds,
            "train.seed": seed,
            "hardware.device": device,
            "hardware.gpus": gpus,
            "hardware.parallel": parallel,
            "hardware.precision": precision,
            "data.download": download or None,
        },
        settings,
    )
    asked = context.find_root().obj
    with results_only(quiet=quiet) as line:
        with collector_off():
            from torchloupe.system.compiler import leave_out_compiler
            from torchloupe.train import start
        config = start.decide(typed, recipe).config
        begin = start.begin_or_go_on if go_on else start.train
        if not config.hardware.compile:
            leave_out_compiler()
        line.clear()  # ranks have lines of their own
        if all_folds := config.data.folds and not config.data.fold:
            from torchloupe.studies.cross_validation import train_folds

            refuse_ranks(config)
            line.say(f"reading {data}")
            listening, started = partial(display, quiet, asked), partial(asked.__setitem__, "run")
            found = train_folds(data, typed, recipe, out, listening=listening, started=started)
        elif run_on_ranks(context, config):
            return
        else:
            line.say(f"reading {data}")
            with display(quiet, asked) as listeners:
                run = begin(data, typed, recipe, out, listeners=listeners, began=asked["began"])
    if all_folds:
        print_folds(found, as_json, typed, recipe)
    else:
        print_result(run, as_json, source=data)


def collect_settings(flags: dict[str, Any], assignments: list[str] | None) -> dict[str, Any]:
    """The settings that were typed, by dotted name; UsageError if two contradict each other."""
    from torchloupe.config.text import parse_assignments

    typed = {name: value for name, value in flags.items() if value is not None}
    for text in assignments or ():
        for name, value in parse_assignments([text]).items():
            if name in typed and str(typed[name]) != value:
                raise UsageError(
                    f"{printable(name)} was given twice: {printable(typed[name])} and "
                    f"{printable(value)}",
                    "leave one of them out",
                )
            typed[name] = value
    if "train.epochs" in typed and "train.minutes" in typed:
        raise UsageError(
            "both epochs and minutes were given, and either one decides when training ends",
            "leave one of them out",
        )
    return typed


class RunName:
    """A listener that notes the folder of the run in `asked`, for the hint after an interrupt."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked = asked

    def start(self, facts: Mapping[str, Any]) -> None:
        """Note the run folder; for a fold, the folder of the whole cross-validation."""
        run = Path(facts["run"])
        self.asked["run"] = run.parent if (run.parent / FOLDS).is_file() else run

    def record(self, event: Mapping[str, Any]) -> None:
        """Events don't name the folder."""

    def close(self) -> None:
        """There is nothing to close."""


@contextlib.contextmanager
def display(quiet: bool, asked: dict[str, Any] | None = None) -> Iterator[list[Any]]:
    """The listeners of a run: the display, and what notes the run's folder in `asked`."""
    from torchloupe.display.terminal import make_display

    display = make_display(quiet=quiet)
    try:
        yield [display] if asked is None else [display, RunName(asked)]
    finally:
        display.close()


def print_folds(
    folds: Any, as_json: bool, typed: Mapping[str, Any] | None = None, recipe: str | None = None
) -> None:
    """Print what was found over all folds, and the next commands.

    `typed` settings and `recipe` are those of the command; else those that the folder names.
    """
    from torchloupe.cli.text import describe_folds, describe_page, print_text, to_json
    from torchloupe.cli.typed import train_words, typed_settings
    from torchloupe.config.settings import read_settings

    if as_json:
        print(to_json({"folder": str(folds.folder), **folds.metrics}))
    else:
        known = typed or typed_settings(read_settings(folds.folder / "config.json"))
        command = train_words(str(known.get("data.source", "")), known, recipe)
        print_text(describe_folds(folds.folder, folds.metrics, command))
        print_text(describe_page(folds.folder))


def print_result(run: Any, as_json: bool, source: str = "") -> None:
    """Print the scores of a finished run, and the next commands; on rank 0."""
    if not is_first_rank():
        return
    from torchloupe.cli.text import describe_page, describe_result, print_text, to_json
    from torchloupe.data.contract import takes_files

    if as_json:
        print(to_json({"run": str(run.folder), "metrics": run.metrics}))
    else:
        by_files = takes_files(run.contract)
        print_text(describe_result(run.folder, run.metrics, source, takes_files=by_files))
        print_text(describe_page(run.folder))
