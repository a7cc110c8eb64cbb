"""`loupe eval`, `look`, `summary` and `info`: looking at a run, a model and the machine."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from torchloupe.cli.options import (
    Device,
    Json,
    RunFolder,
    RunModel,
    Traceback,
    TrustCode,
    count,
    results_only,
)
from torchloupe.errors import UsageError, printable


def evaluate(
    run: RunFolder,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA]",
            help="Other labelled data, in any form that `loupe train` takes; its classes are "
            "matched by name. Left out: the run's own test split.",
        ),
    ] = None,
    device: Device = None,
    model: RunModel = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
    traceback: Traceback = False,  # noqa: ARG001 - its callback tells the door
) -> None:
    """Judge a run: accuracy, its 95 % interval, what is confused.

    For a run from a pretrained network also which images may have a wrong label, since they look
    like those of another class, and which stand in two splits.

    loupe eval runs/photos-001

    loupe eval runs/photos-001 new_photos/ --json
    """
    from torchloupe.cli.result import (
        describe_evaluation,
        describe_oddities,
        print_text,
        to_json,
    )

    with results_only():
        from torchloupe.trained import open_run

        opened = open_run(run, model=model, trust_code=trust_code, device=device or "auto")
        scores = opened.evaluate(data)
        from torchloupe.oddities import Oddities, find_oddities

        odd = find_oddities(opened) if data is None else Oddities()
    if as_json:
        seen = {"strays": odd.strays, "twins": odd.twins}
        print(to_json({"run": str(opened.folder), "data": data, "scores": scores, **seen}))
    else:
        for note in [*(scores.get("notes") or ()), *([odd.note] if odd.note else [])]:
            print(f"note: {printable(note, limit=1000)}", file=sys.stderr)
        split = "data" if scores["split"] == "all" else scores["split"]
        print_text(describe_evaluation(scores, printable(split, 20)))
        print_text(describe_oddities(odd.strays, odd.twins))


def look(
    run: RunFolder,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="One image file.")],
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer",
            metavar="L",
            help="The layers whose maps to show, such as stage2 or 'conv*|layer4'; "
            "`loupe summary RUN` lists them. A few are chosen if left out.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write FILE.png and FILE.html; in RUN/looks, named as the image, if left out.",
        ),
    ] = None,
    device: Device = None,
    model: RunModel = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
    traceback: Traceback = False,  # noqa: ARG001
) -> None:
    """Show what a run sees in an image: classes, Grad-CAM, feature maps, as PNG and HTML.

    loupe look runs/photos-001 cat.jpg

    loupe look runs/photos-001 cat.jpg --layer 'stage*' --out cat
    """
    from torchloupe.cli.result import print_text, to_json

    with results_only():
        from torchloupe.cli.looks import describe_look, place_of
        from torchloupe.report.page import save_look
        from torchloupe.trained import open_run

        opened = open_run(run, model=model, trust_code=trust_code, device=device or "auto")
        seen = opened.look(image, layers=layer)
        files = save_look(seen, place_of(seen, opened.folder) if out is None else Path(out))
    if as_json:
        facts = {"image": image, "layer": seen.heat_layer, "probabilities": dict(seen.ranking)}
        print(to_json({**facts, **{path.suffix[1:]: str(path) for path in files}}))
    else:
        print_text(describe_look(seen, files))


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
        int | None, typer.Option("--classes", metavar="K", parser=count, help="How many outputs.")
    ] = None,
    images: Annotated[
        int, typer.Option("--batch", metavar="N", parser=count, help="How many images at once.")
    ] = 1,
    svg: Annotated[
        str | None,
        typer.Option("--svg", metavar="FILE", help="Draw the net there, as one picture."),
    ] = None,
    untimed: Annotated[bool, typer.Option("--no-time", help="Measure no times.")] = False,
    device: Device = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
    traceback: Traceback = False,  # noqa: ARG001
) -> None:
    """Show what a model is made of and what it costs.

    Output shapes, parameters, FLOPs, bytes and times, layer by layer and in all.

    loupe summary cnn --input 1,28,28 --classes 10

    loupe summary my_model.py:Net --input 3,64,64 --batch 8 --svg net.svg

    loupe summary runs/photos-001
    """
    from torchloupe.cli.result import print_text, to_json

    shape = parse_shape(input_ or "3,224,224")
    with results_only():
        from torchloupe.cli.layers import (
            describe_summary,
            summary_of,
            summary_of_run,
            to_objects,
        )
        from torchloupe.disk import replace_file
        from torchloupe.lens.drawing import draw_net

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


def info(
    as_json: Json = False,
    traceback: Traceback = False,  # noqa: ARG001
) -> None:
    """Show versions, devices, number formats, threads, cache.

    loupe info

    loupe info --json
    """
    from torchloupe.cli.machine import describe_machine, look_at_machine
    from torchloupe.cli.result import print_text, to_json

    with results_only():
        facts: dict[str, Any] = look_at_machine()
    if as_json:
        print(to_json(facts))
    else:
        print_text(describe_machine(facts))
