"""`loupe memory`: what a training step of a model needs, told from few images and checked."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from torchloupe.cli.options import Device, Json, Precision, Traceback, count, results_only
from torchloupe.cli.summary import parse_shape
from torchloupe.errors import ResourceError, printable
from torchloupe.units import format_bytes, plural

PARTS = ("weights", "gradients", "optimizer", "batch", "activations")
OF_MODULES = ("weights", "gradients", "optimizer", "activations")
MOST_MODULES = 12  # that the table shows; --json has all


def memory(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="As --model of `loupe train`.")],
    input_: Annotated[
        str, typer.Option("--input", metavar="C,H,W", help="Channels, height and width: 3,224,224.")
    ] = "3,224,224",
    images: Annotated[
        int, typer.Option("--batch", metavar="N", parser=count, help="How many images at once.")
    ] = 32,
    classes: Annotated[
        int, typer.Option("--classes", metavar="K", parser=count, help="How many outputs.")
    ] = 10,
    optimizer: Annotated[
        str, typer.Option("--optimizer", metavar="O", help="Any class of torch.optim, by name.")
    ] = "adamw",
    precision: Precision = None,
    device: Device = None,
    unchecked: Annotated[
        bool, typer.Option("--no-check", help="Don't try a real step of so many images.")
    ] = False,
    as_json: Json = False,
    traceback: Traceback = False,  # noqa: ARG001 - its callback tells the door
) -> None:
    """Show what a training step keeps in memory, and how many images fit.

    Two real steps with few images are counted, the rest follows in a straight line; one real step
    of the whole batch then checks it, where it fits.

    loupe memory timm:resnet18 --input 3,224,224 --batch 64

    loupe memory my_model.py:Net --input 1,28,28 --batch 512 --precision bf16 --json
    """
    from torchloupe.cli.text import print_text, to_json

    shape = parse_shape(input_)
    with results_only():
        found = look_at_memory(
            model,
            (*shape, classes),
            images,
            optimizer=optimizer,
            precision=precision or "auto",
            device=device or "auto",
            checked=not unchecked,
        )
    if as_json:
        print(to_json(found))
    else:
        print_text(describe_room(found))


def look_at_memory(
    name: str,
    sizes: tuple[int, int, int, int],
    images: int,
    *,
    optimizer: str = "adamw",
    precision: str = "auto",
    device: str = "auto",
    checked: bool = True,
) -> dict[str, Any]:
    """The facts; `sizes` are channels, height and width of an image, and the number of classes."""
    import torch
    from torch import nn

    from torchloupe.hardware.device import choose_device
    from torchloupe.hardware.footprint import Footprint, measure_footprint, predict_footprint
    from torchloupe.hardware.memory import describe_memory, free_bytes, is_out_of_memory
    from torchloupe.hardware.precision import Precision, choose_precision
    from torchloupe.lens.anatomy import explain_forward
    from torchloupe.model.catalog import make_model
    from torchloupe.model.optimizers import make_optimizer

    place = choose_device(device).device
    number_format = Precision(choose_precision(precision, place)[0], place)
    channels, height, width, classes = sizes

    def measure(number: int) -> Footprint:
        model = make_model(
            name, in_channels=channels, classes=classes, image_size=(height, width), options={}
        ).to(place)
        batch = torch.rand(number, channels, height, width, device=place)
        explain_forward(model, batch[:2], classes)
        labels = torch.zeros(number, dtype=torch.int64, device=place)
        made = make_optimizer(optimizer, model, lr=0.0, options={})
        loss = nn.functional.cross_entropy
        return measure_footprint(model, batch, labels, loss, made, number_format)

    try:
        found, most = predict_footprint(measure, images)
        free = free_bytes(place)
        fits = found.peak <= free
        measured = measure(images).peak if checked and fits else None
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            f"a step of a few images of {printable(name)} does not fit: {describe_memory(place)}",
            "use smaller images or a smaller model, or another --device",
        ) from None
    return {
        "model": name,
        "image": list(sizes[:3]),
        "images": images,
        "optimizer": optimizer,
        "precision": number_format.name,
        "device": str(place),
        "bytes": {part: getattr(found, part) for part in PARTS},
        "peak_bytes": {**found.peaks, "all": found.peak, "measured": measured},
        "free_bytes": free,
        "most_images": most(free),
        "modules": [asdict(module) for module in found.modules],
    }


def describe_room(found: dict[str, Any]) -> Any:
    """The facts as text: what is kept, the peaks, and the modules that keep most."""
    from rich.text import Text

    from torchloupe.cli.text import align

    images, kept, peaks = found["images"], found["bytes"], dict(found["peak_bytes"])
    measured = peaks.pop("measured")
    names = {
        "weights": "weights and buffers",
        "gradients": "gradients",
        "optimizer": f"state of {printable(found['optimizer'])}",
        "batch": "images and labels",
        "activations": "activations",
    }
    rows = [[name, format_bytes(kept[part]), ""] for part, name in names.items()]
    rows[-1][2] = f"{format_bytes(kept['activations'] / images)} an image"
    rows += [[f"peak in {name}", format_bytes(size), ""] for name, size in peaks.items()]
    rows[-1][0] = "peak"
    rows[-1][2] = f"a real step: {format_bytes(measured)}" if measured else "not tried"
    enough = f"enough for {plural(found['most_images'], 'image')} at once"
    rows.append(["free", format_bytes(found["free_bytes"]), enough])
    shape = " x ".join(map(str, found["image"]))
    text = Text(
        f"{printable(found['model'])}: a step of {plural(images, 'image')} of {shape} "
        f"in {found['precision']} on {found['device']}\n\n"
    )
    text.append_text(align(rows, right=(1,)))
    return text.append("\n").append_text(_describe_modules(found["modules"]))


def _describe_modules(modules: list[dict[str, Any]]) -> Any:
    """The parts of a model that keep most, those inside them included."""
    from torchloupe.cli.text import align

    whole: dict[str, list[int]] = {}
    for module in modules:
        top = str(module["name"]).partition(".")[0]
        sums = whole.setdefault(top, [0] * len(OF_MODULES))
        whole[top] = [so_far + module[part] for so_far, part in zip(sums, OF_MODULES, strict=True)]
    largest = sorted(whole, key=lambda name: sum(whole[name]), reverse=True)[:MOST_MODULES]
    rows = [["module", *OF_MODULES]]
    rows += [
        [printable(name) or "(itself)", *map(format_bytes, whole[name])]
        for name in whole
        if name in largest
    ]
    return align(rows, right=(1, 2, 3, 4), header=True)
