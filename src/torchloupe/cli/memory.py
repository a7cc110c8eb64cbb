"""`loupe memory`: the memory that a training step needs, from steps of few images, and checked."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchloupe.cli.options import Device, Json, Precision, count, results_only
from torchloupe.cli.summary import parse_shape
from torchloupe.errors import ResourceError, printable
from torchloupe.units import format_bytes, plural

if TYPE_CHECKING:
    from torchloupe.hardware.footprint import Footprint

PARTS = ("weights", "gradients", "optimizer", "batch", "activations")
OF_MODULES = ("weights", "gradients", "optimizer", "activations")
MOST_MODULES = 12  # that the table shows; --json has all


def memory(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="As --model of `loupe train`.")],
    input_: Annotated[
        str, typer.Option("--input", metavar="C,H,W", help="Channels, height and width: 3,224,224.")
    ] = "3,224,224",
    images: Annotated[
        int, typer.Option("--batch", metavar="N", parser=count, help="Images per step.")
    ] = 32,
    classes: Annotated[
        int, typer.Option("--classes", metavar="K", parser=count, help="Number of classes.")
    ] = 10,
    optimizer: Annotated[
        str, typer.Option("--optimizer", metavar="O", help="Any class of torch.optim, by name.")
    ] = "adamw",
    precision: Precision = None,
    device: Device = None,
    unchecked: Annotated[
        bool, typer.Option("--no-check", help="Don't check it with a real step of N images.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show how much memory a training step takes, and how many images fit.

    Two real steps with few images are measured and extrapolated to N images; one real step with
    all of them then checks the result, if it fits.

    loupe memory timm:resnet18 --input 3,224,224 --batch 64

    loupe memory my_model.py:Net --input 1,28,28 --batch 512 --precision bf16 --json
    """
    from torchloupe.cli.text import print_text, to_json

    step = Step(
        model,
        parse_shape(input_),
        classes,
        images,
        optimizer=optimizer,
        precision=precision or "auto",
        device=device or "auto",
    )
    with results_only() as line:
        line.say(f"measuring {model}")
        found = look_at_memory(step, checked=not unchecked)
    if as_json:
        print(to_json(found))
    else:
        print_text(describe_memory(found))


@dataclass(frozen=True)
class Step:
    """The training step that is asked about: the model, its images and how it is trained."""

    model: str
    shape: tuple[int, int, int]  # channels, height and width of an image
    classes: int
    images: int
    optimizer: str = "adamw"
    precision: str = "auto"
    device: str = "auto"


def look_at_memory(step: Step, *, checked: bool = True) -> dict[str, Any]:
    """What `step` keeps in memory and how many images fit, for JSON.

    With `checked` a real step of all images is measured too, if it fits. ResourceError if
    not even a few images do.
    """
    from torchloupe.hardware.device import choose_device
    from torchloupe.hardware.footprint import predict_footprint
    from torchloupe.hardware.memory import describe_memory as describe_device_memory
    from torchloupe.hardware.memory import free_bytes, is_out_of_memory
    from torchloupe.hardware.precision import Precision, choose_precision

    place = choose_device(step.device).device
    number_format = Precision(choose_precision(step.precision, place)[0], place)
    measure = partial(_measure, step, number_format)
    try:
        found, most = predict_footprint(measure, step.images)
        free = free_bytes(place)
        measured = measure(step.images).peak if checked and found.peak <= free else None
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            f"a step of a few images of {printable(step.model)} does not fit: "
            f"{describe_device_memory(place)}",
            "use smaller images or a smaller model, or another --device",
        ) from None
    return {
        "model": step.model,
        "image": list(step.shape),
        "images": step.images,
        "optimizer": step.optimizer,
        "precision": number_format.name,
        "device": str(place),
        "bytes": {part: getattr(found, part) for part in PARTS},
        "peak_bytes": {**found.peaks, "all": found.peak, "measured": measured},
        "free_bytes": free,
        "most_images": most(free),
        "modules": [asdict(module) for module in found.modules],
    }


def _measure(step: Step, number_format: Any, images: int) -> "Footprint":
    """What one real step of `images` images keeps."""
    import torch
    from torch import nn

    from torchloupe.hardware.footprint import measure_footprint
    from torchloupe.lens.anatomy import explain_forward
    from torchloupe.model.catalog import make_model
    from torchloupe.model.optimizers import make_optimizer
    from torchloupe.model.outputs import take_logits

    channels, height, width = step.shape
    place = number_format.device
    made = make_model(
        step.model,
        in_channels=channels,
        classes=step.classes,
        image_size=(height, width),
        options={},
    )
    model = take_logits(made, step.classes).to(place)
    batch = torch.rand(images, *step.shape, device=place)
    explain_forward(model, batch[:2], step.classes)
    labels = torch.zeros(images, dtype=torch.int64, device=place)
    optimizer = make_optimizer(step.optimizer, model, lr=0.0, options={})
    loss = nn.functional.cross_entropy
    return measure_footprint(model, batch, labels, loss, optimizer, number_format)


def describe_memory(found: dict[str, Any]) -> Any:
    """The result as text: what is kept, the peaks, and the largest modules."""
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
    """The modules at the top of a model that keep most, with everything inside them."""
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
