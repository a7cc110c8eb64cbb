"""`loupe eject`: the run as one file of plain PyTorch."""

from pathlib import Path
from typing import Annotated

import typer

from torchloupe.cli.options import RunFolder, RunModel, TrustCode, results_only
from torchloupe.errors import UsageError, printable


def eject(
    run: RunFolder,
    notebook: Annotated[
        bool, typer.Option("--notebook", help="A notebook (.ipynb) of the same code.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="FILE.npz",
            help="Store the decoded images and their split there, and have the code read that: "
            "for shards, archives, HDF5, Parquet, and splits by groups.",
        ),
    ] = None,
    prove: Annotated[
        bool,
        typer.Option("--prove", help="Train the file and compare its weights with the run's."),
    ] = False,
    model: RunModel = None,
    trust_code: TrustCode = False,
) -> None:
    """Write a run as one file of plain PyTorch that is yours.

    Data, model, loop, evaluation and checkpoint, without torchloupe. Its head says what is other
    than in the run; --prove trains it and says whether the weights are the same, bit for bit.

    loupe eject runs/digits-001 > train.py

    loupe eject runs/photos-001 --notebook > train.ipynb

    loupe eject runs/shards-001 --data images.npz --prove > train.py
    """
    with results_only() as line:
        from torchloupe.deploy.ejection.notebook import to_notebook
        from torchloupe.deploy.ejection.page import eject as write

        line.say(f"reading {run}")
        if data is not None and not data.endswith(".npz"):
            raise UsageError(f"--data {printable(data)} is no .npz", "--data images.npz")
        page = write(
            Path(run),
            model=model,
            trust_code=trust_code,
            images=None if data is None else Path(data),
            is_proved=prove,
        )
        page = to_notebook(page) if notebook else page
    print(page, end="")
