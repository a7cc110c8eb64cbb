"""`loupe tell`: a word to a running training."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from torchloupe.cli.options import RunFolder
from torchloupe.errors import UsageError, did_you_mean, printable

WORDS = ("save", "stop", "lr=X")


def tell(
    run: RunFolder,
    what: Annotated[str, typer.Argument(metavar="WHAT", help="save, stop or lr=0.001.")],
) -> None:
    """Tell a running training something.

    save writes a checkpoint after the step that is being done, stop ends the run after it, lr=X
    changes the base learning rate, which the schedule goes on from. The run records all of it.

    loupe tell runs/photos-001 save

    loupe tell runs/photos-001 lr=0.0005
    """
    from torchloupe.run.mailbox import send
    from torchloupe.run.places import find_run

    check(what)
    send(find_run(Path(run)), what)
    print(f"told {printable(run)}: {what}")


def check(what: str) -> None:
    """UsageError for anything but the words and a learning rate above 0."""
    verb, equals, value = what.partition("=")
    if verb == "lr" and equals:
        with suppress(ValueError):
            if 0 < float(value) < float("inf"):
                return
        raise UsageError(
            f"a learning rate is a number above 0, got {printable(value)!r}", "lr=0.001"
        )
    if what not in ("save", "stop"):
        raise UsageError(f"a run can't be told {printable(what)!r}", did_you_mean(what, WORDS))
