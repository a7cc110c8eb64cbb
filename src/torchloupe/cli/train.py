"""`loupe train` and `loupe resume`: from the command line to typed settings, and the result."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from torchloupe.cli.gpus import is_first_rank, run_on_ranks
from torchloupe.cli.options import (
    Device,
    Json,
    Precision,
    Quiet,
    RunFolder,
    RunModel,
    Set,
    Traceback,
    TrustCode,
    amount,
    count,
    results_only,
    whole_number,
)
from torchloupe.distributed.rank import find_rank
from torchloupe.errors import UsageError, printable

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
        help="Be done after M minutes, all in all, instead of a number of epochs.",
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
        help="How several GPUs share the work: ddp (if left out), fsdp, or dp in one process.",
    ),
]


def train(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A folder with one folder of images a class, or train, val, test folders of such; "
            "a .csv, .tsv or .parquet of paths and labels; .npz or IDX arrays; tar shards; digits; "
            "torchvision:NAME; file.py:NAME.",
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
            help="head: solve the last layer of a pretrained network; finetune: train all of it "
            "on from there; scratch: from random weights. Chosen if left out.",
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
    epochs: Epochs = None,
    minutes: Minutes = None,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds",
            metavar="K",
            parser=count,
            help="Cross-validate: train K times, each time tested on another K-th of the images.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="RUN", help="The new run folder; runs/NAME-001 if left out."),
    ] = None,
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
        typer.Option(
            "--seed", metavar="N", parser=whole_number, help="Of order, augmentation and weights."
        ),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Allow torchvision:NAME to fetch its files.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
    traceback: Traceback = False,  # noqa: ARG001 - its callback tells the door
) -> None:
    """Train a classifier and leave a run folder.

    Progress goes to stderr; at the end stdout has the test accuracy with its 95 % interval, the
    run folder, and what to do next.

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
    with results_only():
        from torchloupe.studies.cross_validation import train_folds
        from torchloupe.train.start import decide
        from torchloupe.train.start import train as begin

        config = decide(typed, recipe).config
        all_folds = config.data.folds and not config.data.fold
        if all_folds:
            refuse_ranks(config)
            found = train_folds(data, typed, recipe, out, listening=lambda: display(quiet))
        elif run_on_ranks(context, config):
            return
        else:
            with display(quiet) as listeners:
                began = context.find_root().obj["began"]
                run = begin(data, typed, recipe, out, listeners=listeners, began=began)
    if all_folds:
        _print_folds(found, as_json, source=data)
    else:
        _print_result(run, as_json, source=data)


def resume(
    context: typer.Context,
    run: RunFolder,
    epochs: Epochs = None,
    minutes: Minutes = None,
    settings: Set = None,
    device: Device = None,
    gpus: Gpus = None,
    parallel: Parallel = None,
    model: RunModel = None,
    trust_code: TrustCode = False,
    accept_new_data: Annotated[
        bool,
        typer.Option("--accept-new-data", help="Go on although the data has changed since."),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
    traceback: Traceback = False,  # noqa: ARG001
) -> None:
    """Continue a stopped run, or train a finished one for longer.

    It goes on from the newest sound checkpoint, with the settings of the run; what is typed here
    replaces a setting from now on.

    loupe resume runs/photos-001

    loupe resume runs/photos-001 --epochs 40
    """
    typed = collect_settings(
        {
            "train.epochs": epochs,
            "train.minutes": minutes,
            "hardware.device": device,
            "hardware.gpus": gpus,
            "hardware.parallel": parallel,
        },
        settings,
    )
    if (Path(run) / "folds.json").is_file():
        if typed or model or accept_new_data:
            raise UsageError(
                f"{printable(run)} is a cross-validation, which goes on as it was begun",
                f"leave the options out, or resume one of its runs: {printable(run)}/fold-1",
            )
        with results_only():
            from torchloupe.studies.cross_validation import resume_folds

            found = resume_folds(run, trust_code=trust_code, listening=lambda: display(quiet))
        _print_folds(found, as_json)
        return
    with display(quiet) as listeners:
        from torchloupe.config.settings import read_settings
        from torchloupe.run.places import find_run
        from torchloupe.train.start import continue_run

        asked = "hardware.gpus" in typed
        before = read_settings(find_run(Path(run)) / "config.json")
        if run_on_ranks(context, before.changed(typed, "typed").config, at_most=not asked):
            return
        done = continue_run(
            run,
            typed,
            model_name=model,
            trust_code=trust_code,
            accept_new_data=accept_new_data,
            listeners=listeners,
            began=context.find_root().obj["began"],
        )
    _print_result(done, as_json)


def collect_settings(flags: dict[str, Any], assignments: list[str] | None) -> dict[str, Any]:
    """What was typed, by dotted name; UsageError where two of them contradict each other."""
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


@contextlib.contextmanager
def display(quiet: bool) -> Iterator[list[Any]]:
    """The display as a list of listeners; whatever code prints meanwhile goes to stderr."""
    from torchloupe.display.terminal import make_display

    with results_only():
        display = make_display(quiet=quiet)
        try:
            yield [display]
        finally:
            display.close()


def refuse_ranks(config: Any) -> None:
    """UsageError where folds are to be trained by several processes."""
    if config.hardware.gpus != "1" or find_rank() is not None:
        raise UsageError(
            "folds are trained one after the other by one process, and several were asked for",
            "leave --gpus and torchrun out, or train one fold: --set data.fold=1",
        )


def _print_folds(folds: Any, as_json: bool, source: str = "") -> None:
    from torchloupe.cli.text import describe_folds, print_text, to_json

    if as_json:
        print(to_json({"folder": str(folds.folder), **folds.metrics}))
    else:
        print_text(describe_folds(folds.folder, folds.metrics, source))


def _print_result(run: Any, as_json: bool, source: str = "") -> None:
    if not is_first_rank():
        return
    from torchloupe.cli.text import describe_result, print_text, to_json

    if as_json:
        print(to_json({"run": str(run.folder), "metrics": run.metrics}))
    else:
        print_text(describe_result(run.folder, run.metrics, source))
