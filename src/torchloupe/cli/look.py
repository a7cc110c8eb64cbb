"""`loupe look`: Grad-CAM and feature maps of one image."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchloupe.cli.options import (
    Device,
    Json,
    RunFolder,
    RunModel,
    TrustCode,
    results_only,
)
from torchloupe.errors import ResourceError, UsageError, printable
from torchloupe.run.places import find_run, safe_name

if TYPE_CHECKING:
    from rich.text import Text

    from torchloupe.report.look import Look


def look(
    run: RunFolder,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="One image file.")],
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer",
            metavar="L",
            help="The layers whose feature maps are shown, such as stage2 or 'conv*|layer4'; "
            "`loupe summary RUN` lists them. A few are chosen if left out.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write FILE.png and FILE.html; RUN/looks/IMAGE if left out.",
        ),
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="A run that is being trained: it saves, and that checkpoint looks."
        ),
    ] = False,
    device: Device = None,
    model: RunModel = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Show what a run sees in an image: classes, Grad-CAM, feature maps, as PNG and HTML.

    loupe look runs/photos-001 cat.jpg

    loupe look runs/photos-001 cat.jpg --layer 'stage*' --out cat

    loupe look runs/photos-001 cat.jpg --live
    """
    from torchloupe.cli.text import print_text, to_json

    with results_only() as line:
        from torchloupe.report.page import save_look
        from torchloupe.run.mailbox import require_running
        from torchloupe.trained.run import open_run, open_untrained

        which, device = "best", device or "auto"
        if live:
            require_running(find_run(Path(run)))
            line.say(f"looking at {image}")  # before the training is asked: it may not be possible
            first = open_untrained(run, model=model, trust_code=trust_code, device=device)
            first.look(image, layers=layer)
            line.say("waiting for a checkpoint")
            which = await_checkpoint(first.folder)
        line.say(f"opening {run}")
        opened = open_run(run, model=model, trust_code=trust_code, device=device, which=which)
        line.say(f"looking at {image}")
        seen = opened.look(image, layers=layer)
        files = save_look(seen, place_of(seen, opened.folder) if out is None else Path(out))
    if as_json:
        facts = {"image": image, "layer": seen.heat_layer, "probabilities": dict(seen.ranking)}
        print(to_json({**facts, **{path.suffix[1:]: str(path) for path in files}}))
    else:
        print_text(describe_look(seen, files))


_MOST_CLASSES = 5
_MOST_SECONDS = 300.0  # until a step is done and its checkpoint written
_ASK_SECONDS = 2.0  # between two questions whether it is trained still


def await_checkpoint(run: Path, message: str = "save") -> str:
    """Have a running training save, by `message`, and wait for it; the name of the checkpoint.

    Raises UsageError where nothing is trained, or not for long enough, and ResourceError where no
    checkpoint comes.
    """
    from torchloupe.run.mailbox import is_running, send

    before = (run / "last").resolve()
    send(run, message)
    now = time.monotonic()
    end, asks = now + _MOST_SECONDS, now + _ASK_SECONDS
    runs = True
    while runs and (now := time.monotonic()) < end:
        time.sleep(0.05)
        if now >= asks:
            runs, asks = is_running(run), now + _ASK_SECONDS
        if (newest := (run / "last").resolve()) != before and newest.is_dir():
            return newest.name
    if not runs:
        raise UsageError(
            f"the training in {printable(run)} ended before it saved",
            f"look at its best checkpoint: loupe look {printable(run)} IMAGE",
        )
    raise ResourceError(
        f"no checkpoint was written within {_MOST_SECONDS:g} s",
        "look at the last one: leave --live out",
    )


def place_of(look: "Look", run: Path) -> Path:
    """RUN/looks/NAME, with the name of the image as a safe file name."""
    return find_looks(run) / (safe_name(Path(look.image_name).stem) or "image")


def find_looks(run: Path) -> Path:
    """The folder RUN/looks, made where it is not there yet."""
    folder = run / "looks"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ResourceError(
            f"can't make {printable(folder)}: {error.strerror or error}",
            "give another path with --out",
        ) from None
    return folder


def describe_look(look: "Look", files: Sequence[Path]) -> "Text":
    """The most likely classes, the layer of the Grad-CAM, and where the files are."""
    from torchloupe.cli.text import align
    from torchloupe.display.progress import format_fraction

    rows = [
        [printable(name, 60), format_fraction(share)]
        for name, share in look.ranking[:_MOST_CLASSES]
    ]
    text = align(rows, right=(1,))
    text.append(f"Grad-CAM of layer {printable(look.heat_layer)}\n\n")
    for path in files:
        text.append(f"{printable(path, limit=4000)}\n")
    return text
