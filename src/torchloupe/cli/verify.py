"""`loupe verify-resume` and `loupe diff`: exact resume tested, and two runs compared."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from torchloupe.cli.options import Json, Quiet, RunFolder, Set, count, results_only
from torchloupe.cli.train import Epochs
from torchloupe.errors import LoupeError, UsageError, printable

_MOST_SHOWN = 20  # settings that differ


def verify_resume(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Anything that `loupe train` takes, or a run, whose settings count.",
        ),
    ],
    model: Annotated[
        str | None, typer.Option("--model", metavar="M", help="As --model of `loupe train`.")
    ] = None,
    kills: Annotated[
        int, typer.Option("--kills", metavar="N", parser=count, help="How many; 20 if left out.")
    ] = 20,
    epochs: Epochs = None,
    settings: Set = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", metavar="FOLDER", help="A new folder for the runs; temporary if left out."
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Kill runs at random instants, resume, compare every bit.

    Each run is killed with SIGKILL up to four times and resumed to its end; then its losses,
    weights, averaged weights and optimizer state are compared with those of an uninterrupted run.
    The exit code is 1 if any bit differs.

    loupe verify-resume digits

    loupe verify-resume runs/photos-001 --kills 4

    loupe verify-resume photos/ --model my_model.py:Net --epochs 2 --kills 50
    """
    words = words_of(data)
    words += ["--model", model] if model is not None else []
    words += ["--epochs", str(epochs)] if epochs is not None else []
    words += [word for text in settings or () for word in ("--set", text)]
    words += ["--", data] if words[:1] != [data] and data.startswith("-") else []
    temporary_folder = tempfile.TemporaryDirectory(prefix="loupe-verify-")
    with temporary_folder as temporary, results_only(quiet=quiet) as line:
        from torchloupe.studies.resume_proof import verify_resume as verify

        folder = Path(out or temporary)
        if out is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(
                f"--out {printable(out)} is not a new folder", "give one that does not exist yet"
            )

        def tell(text: str) -> None:
            if not quiet:
                print(text, file=sys.stderr, flush=True)

        line.say(f"training {data} without interruption")
        proof = verify(words, folder, kills=kills, tell=tell)
    _print(proof.as_dict(), _describe_verdict(proof, out), as_json)
    if not proof.is_exact:
        raise LoupeError(
            "a resumed run differs from the uninterrupted run"
            if proof.kills
            else "every run ended before it could be killed",
            "keep the runs with --out and compare them with `loupe diff`"
            if proof.kills
            else "train for longer: --epochs",
        )


def words_of(data: str) -> list[str]:
    """The first words of `loupe train` for these data, or for the data and settings of a run."""
    config = Path(data) / "config.json"
    if not config.is_file():
        return [] if data.startswith("-") else [data]
    from torchloupe.config.settings import read_settings
    from torchloupe.run.places import find_run
    from torchloupe.system.user_code import PYTHON_OBJECT

    find_run(Path(data))
    source = read_settings(config).config.data.source
    if source == PYTHON_OBJECT:
        raise UsageError(
            f"the data of {printable(data)} were a Python object, which no command can open again",
            "name them in a file, and give that: loupe verify-resume file.py:NAME",
        )
    return [source, "--recipe", str(config)]


def diff(
    run: RunFolder,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="Another run folder.")],
    as_json: Json = False,
) -> None:
    """Compare two runs: settings, and where losses differ.

    Lists the settings that differ, the first step at which losses or weights are not bit-equal,
    and which parts of the last checkpoints are.

    loupe diff runs/photos-001 runs/photos-002
    """
    with results_only() as line:
        from torchloupe.studies.difference import compare_runs

        line.say(f"comparing {run} and {other}")
        difference = compare_runs(run, other)
    _print(difference.as_dict(), _describe_difference(difference), as_json)


def _print(values: Any, lines: list[str], as_json: bool) -> None:
    from torchloupe.cli.text import to_json

    print(to_json(values) if as_json else "\n".join(lines))


def _describe_verdict(proof: Any, out: str | None) -> list[str]:
    trials = proof.trials
    rows = [
        ("kills", proof.kills),
        ("runs killed", len(trials)),
        ("resumed", sum(trial.resumed for trial in trials)),
        ("bit-equal", sum(trial.bit_equal for trial in trials)),
        ("stray files", sum(len(trial.stray_files) for trial in trials)),
        ("seconds", f"{proof.seconds:.0f}"),
    ]
    rows += [("problem", printable(trial.problem, 500)) for trial in trials if trial.problem]
    rows += [("runs", printable(out))] if out else []
    return [f"{label:<14}{value}" for label, value in rows]


def _describe_difference(difference: Any) -> list[str]:
    d = difference
    lines = [
        f"{printable(name)}: {printable(one, 80)} | {printable(other, 80)}"
        for name, (one, other) in list(d.settings.items())[:_MOST_SHOWN]
    ]
    if len(d.settings) > _MOST_SHOWN:
        lines.append(f"and {len(d.settings) - _MOST_SHOWN} more settings")
    lines = [f"settings      {len(d.settings)} differ", *(f"  {line}" for line in lines)]
    rows = [
        ("compared", f"{d.compared_steps:,} logged steps; {d.lone_steps:,} are in one run only"),
        *(
            (what, "the same" if step is None else f"part at step {step:,}")
            for what, step in (("losses", d.first_loss_step), ("weights", d.first_weights_step))
            if d.compared_steps
        ),
        (
            "last state",
            ", ".join(f"{name} {'equal' if same else 'differs'}" for name, same in d.final.items())
            or f"not of the same step: {d.last_steps[0]} and {d.last_steps[1]}",
        ),
        ("bit-equal", "yes" if d.is_none else "no"),
    ]
    return [*lines, *(f"{label:<14}{value}" for label, value in rows)]
