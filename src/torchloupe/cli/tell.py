"""`loupe tell`: a word to a running training."""

import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from torchloupe.cli.options import RunFolder, RunModel, TrustCode
from torchloupe.errors import UsageError, did_you_mean, printable

_MOST_SECONDS = 60.0  # until a step is done
_POLL_SECONDS = 0.3
WORDS = ("save", "stop", "look", "lr=X")


def tell(
    run: RunFolder,
    what: Annotated[str, typer.Argument(metavar="WHAT", help="save, stop, look or lr=0.001.")],
    model: RunModel = None,
    trust_code: TrustCode = False,
) -> None:
    """Tell a running training something.

    save writes a checkpoint after the step that is being done, stop ends the run after it, lr=X
    changes the base learning rate, which the schedule goes on from. look draws what the model sees
    in a validation image at that step, into RUN/looks. The run records all of it, and what it
    answers is printed.

    loupe tell runs/photos-001 save

    loupe tell runs/photos-001 lr=0.0005
    """
    from torchloupe.run.events import read_events
    from torchloupe.run.mailbox import send
    from torchloupe.run.places import find_run

    check(what)
    folder = find_run(Path(run))
    if what == "look":
        drawn = look_at_validation(folder, model=model, trust_code=trust_code)
        print(*drawn, sep="\n")
        return
    begun = len(read_events(folder))
    send(folder, what)
    print(printable(await_answer(folder, what, begun), 300))


def await_answer(folder: Path, what: str, begun: int) -> str:
    """What the training says that it did; `begun` events are older than the message.

    UsageError where it ends without having read the message.
    """
    from torchloupe.run.events import read_events
    from torchloupe.run.mailbox import is_running

    end, runs = time.monotonic() + _MOST_SECONDS, True
    while runs and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)
        runs = is_running(folder)  # asked before the events, which it may end with
        for event in read_events(folder)[begun:]:
            if event.get("told") == what:
                return str(event["note"])
    if runs:
        return f"{what} is left for the training, which reads it after the step that is being done"
    raise UsageError(
        f"the training in {printable(folder)} ended before it was told {what}",
        f"loupe resume {printable(folder)} goes on with it, if it is not finished",
    )


def look_at_validation(folder: Path, *, model: str | None, trust_code: bool) -> list[Path]:
    """Have a checkpoint written, and draw what it sees in the first validation image.

    RUN/looks/STEP.png and .html; the training goes on meanwhile.
    """
    from torchloupe.cli.look import await_checkpoint, find_looks
    from torchloupe.report.page import save_look
    from torchloupe.run.mailbox import require_running
    from torchloupe.trained.outputs import open_run_data
    from torchloupe.trained.run import open_run, open_untrained

    require_running(folder)
    first = open_untrained(folder, model=model, trust_code=trust_code)
    data = open_run_data(folder, first.config, first.contract, trust_code=trust_code)
    part = next((part for part in ("val", "test", "train") if data.has(part)), None)
    if data.pixels is None or part is None:
        raise UsageError(
            "the images of this run can't be opened again",
            f"loupe look {printable(folder)} IMAGE --live looks at one of yours",
        )
    name = await_checkpoint(folder, "look")
    run = open_run(folder, which=name, model=model, trust_code=trust_code)
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
