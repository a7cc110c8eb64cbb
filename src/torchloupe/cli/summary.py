"""`loupe summary`: the layers of a model and what they cost."""

from pathlib import Path
from typing import Annotated, Any

import typer

from torchloupe.cli.options import (
    Device,
    Json,
    TrustCode,
    count,
    results_only,
)
from torchloupe.errors import UsageError, printable


def summary(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="As --model of `loupe train`, or the folder of a run.",
        ),
    ],
    input_: Annotated[
        str | None,
        typer.Option(
            "--input", metavar="C,H,W", help="Channels, height and width of an image: 1,28,28."
        ),
    ] = None,
    classes: Annotated[
        int | None, typer.Option("--classes", metavar="K", parser=count, help="Number of classes.")
    ] = None,
    images: Annotated[
        int, typer.Option("--batch", metavar="N", parser=count, help="Images per batch.")
    ] = 1,
    svg: Annotated[
        str | None,
        typer.Option("--svg", metavar="FILE", help="Draw the network as an SVG picture."),
    ] = None,
    untimed: Annotated[bool, typer.Option("--no-time", help="Don't measure times.")] = False,
    device: Device = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Show the layers of a model and their costs.

    Output shapes, parameters, FLOPs, bytes and times, per layer and in total.

    loupe summary cnn --input 1,28,28 --classes 10

    loupe summary my_model.py:Net --input 3,64,64 --batch 8 --svg net.svg

    loupe summary runs/photos-001
    """
    from torchloupe.cli.text import print_text, to_json

    shape = parse_shape(input_ or "3,224,224")
    with results_only() as line:
        from torchloupe.cli.layers import describe_summary, summary_of, summary_of_run, to_objects
        from torchloupe.lens.drawing import draw_net
        from torchloupe.system.files import replace_file

        line.say(f"measuring {model}")
        how: Any = {"images": images, "timed": not untimed, "device": device or "auto"}
        if (Path(model) / "config.json").is_file():
            if input_ is not None or classes is not None:
                raise UsageError(
                    "a run knows its own input and classes",
                    "leave out --input and --classes, or name the model instead of the run",
                )
            name, found = summary_of_run(model, trust_code, **how)
        else:
            name = model
            found = summary_of(model, shape, classes or 10, **how)
        if svg is not None:
            replace_file(Path(svg), draw_net(found, name).encode())
    if as_json:
        print(to_json(to_objects(name, found)))
    else:
        print_text(describe_summary(name, found))


def parse_shape(text: str) -> tuple[int, int, int]:
    """(channels, height, width) from `1,28,28` or `1x28x28`."""
    try:
        channels, height, width = (int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        channels = height = width = 0
    if min(channels, height, width) < 1:
        raise UsageError(
            f"--input takes channels,height,width, got {printable(text)!r}",
            "for example --input 1,28,28",
        )
    return channels, height, width
