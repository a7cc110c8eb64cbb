"""`loupe tell`: a word to a running training."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from torchloupe.cli.options import RunFolder
from torchloupe.errors import UsageError, did_you_mean, printable

WORDS = ("save", "stop", "look", "lr=X")


def tell(
    run: RunFolder,
    what: Annotated[str, typer.Argument(metavar="WHAT", help="save, stop, look or lr=0.001.")],
) -> None:
    """Tell a running training something.

    save writes a checkpoint after the step that is being done, stop ends the run after it, lr=X
    changes the base learning rate, which the schedule goes on from. look draws what the model sees
    in a validation image at that step, into RUN/looks. The run records all of it.

    loupe tell runs/photos-001 save

    loupe tell runs/photos-001 lr=0.0005
    """
    from torchloupe.run.mailbox import send
    from torchloupe.run.places import find_run

    check(what)
    folder = find_run(Path(run))
    if what == "look":
        print(*look_at_validation(folder), sep="\n")
        return
    send(folder, what)
    print(f"told {printable(run)}: {what}")


def look_at_validation(folder: Path) -> list[Path]:
    """Have a checkpoint written, and draw what it sees in the first validation image.

    RUN/looks/STEP.png and .html; the training goes on meanwhile.
    """
    from torchloupe.cli.look import await_checkpoint, find_looks
    from torchloupe.report.page import save_look
    from torchloupe.trained.outputs import open_run_data
    from torchloupe.trained.run import open_run

    name = await_checkpoint(folder, "look")
    run = open_run(folder, which=name)
    data = open_run_data(folder, run.config, run.contract)
    part = next((part for part in ("val", "test", "train") if data.has(part)), None)
    if data.pixels is None or part is None:
        raise UsageError(
            "the images of this run can't be opened again",
            f"loupe look {printable(folder)} IMAGE --live looks at one of yours",
        )
    row = data.rows(part)[:1]
    look = run.look(data.pixels.gather(row)[0].numpy())
    title = f"{data.samples.ids[int(row[0])]} ({part}) at step {run.step:,}"
    return list(save_look(replace(look, image_name=title), find_looks(folder) / name))


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
    if what not in ("save", "stop", "look"):
        raise UsageError(f"a run can't be told {printable(what)!r}", did_you_mean(what, WORDS))
