"""`loupe resume`: a run, cross-validation or sweep that was stopped goes on."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from torchloupe.cli.gpus import run_on_ranks
from torchloupe.cli.options import (
    Device,
    Json,
    Quiet,
    RunFolder,
    RunModel,
    Set,
    TrustCode,
    results_only,
)
from torchloupe.cli.sweep import resume_a_sweep
from torchloupe.cli.train import (
    Epochs,
    Gpus,
    Minutes,
    Parallel,
    collect_settings,
    display,
    print_folds,
    print_result,
)
from torchloupe.errors import UsageError, printable
from torchloupe.run.places import FOLDS, SWEEP


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
        typer.Option("--accept-new-data", help="Go on although the data have changed."),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Continue a stopped run, or train a finished one for longer.

    It continues from the newest valid checkpoint, with the settings of the run. Options given
    here replace these settings from now on.

    loupe resume runs/photos-001

    loupe resume runs/photos-001 --epochs 40
    """
    asked = context.find_root().obj
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
    if several := name_several(Path(run)):
        if typed or model or accept_new_data:
            what, one = several
            raise UsageError(
                f"{printable(run)} is a {what}, which is resumed with its own settings",
                f"leave the options out, or resume one of its runs: {printable(run)}/{one}",
            )
        asked["run"] = run
        go_on = resume_a_sweep if (Path(run) / SWEEP).is_file() else resume_a_cross_validation
        go_on(run, asked, trust_code=trust_code, quiet=quiet, as_json=as_json)
        return
    with results_only(quiet=quiet) as line:
        from torchloupe.system.compiler import leave_out_compiler
        from torchloupe.train.going_on import read_begun
        from torchloupe.train.start import continue_run

        before, _ = read_begun(Path(run))
        config = before.changed(typed, "typed").config
        if not config.hardware.compile:
            leave_out_compiler()
        asked["run"] = run
        line.clear()  # ranks have lines of their own
        if run_on_ranks(context, config, at_most="hardware.gpus" not in typed):
            return
        line.say(f"opening {run}")
        with display(quiet, asked) as listeners:
            done = continue_run(
                run,
                typed,
                model_name=model,
                trust_code=trust_code,
                accept_new_data=accept_new_data,
                listeners=listeners,
                began=asked["began"],
            )
    print_result(done, as_json)


def name_several(folder: Path) -> tuple[str, str] | None:
    """What a folder of several runs is, and the name of one of them; None for another folder."""
    if (folder / SWEEP).is_file():
        return "sweep", "trial-000"
    return ("cross-validation", "fold-1") if (folder / FOLDS).is_file() else None


def resume_a_cross_validation(
    folder: str, asked: dict[str, Any], *, trust_code: bool, quiet: bool, as_json: bool
) -> None:
    """Go on with all folds of a cross-validation."""
    with results_only(quiet=quiet) as line:
        from torchloupe.studies.cross_validation import resume_folds

        line.say(f"opening {folder}")
        listening = partial(display, quiet, asked)
        found = resume_folds(folder, trust_code=trust_code, listening=listening)
    print_folds(found, as_json)
