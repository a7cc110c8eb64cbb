"""`loupe eject`: the run as one file of plain PyTorch."""

from pathlib import Path
from typing import Annotated

import typer

from torchloupe.cli.options import RunFolder, RunModel, TrustCode, results_only


def eject(
    run: RunFolder,
    notebook: Annotated[
        bool, typer.Option("--notebook", help="A notebook (.ipynb) of the same code.")
    ] = False,
    model: RunModel = None,
    trust_code: TrustCode = False,
) -> None:
    """Write a run as one file of plain PyTorch that is yours.

    Data, model, loop, evaluation and checkpoint, without torchloupe. In fp32 and without
    augmentation it trains to the same weights, bit for bit; what differs is said at its head.

    loupe eject runs/digits-001 > train.py

    loupe eject runs/photos-001 --notebook > train.ipynb
    """
    with results_only() as line:
        from torchloupe.deploy.ejection.notebook import to_notebook
        from torchloupe.deploy.ejection.page import eject as write

        line.say(f"reading {run}")
        page = write(Path(run), model=model, trust_code=trust_code)
        page = to_notebook(page) if notebook else page
    print(page, end="")
