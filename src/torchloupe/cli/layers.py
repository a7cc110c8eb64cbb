"""The tables of `loupe summary`: the layers and costs of a named model or of a run."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import torch
from rich.text import Text
from torch import nn

from torchloupe.cli.text import align
from torchloupe.errors import printable
from torchloupe.hardware.device import choose_device
from torchloupe.lens.anatomy import explain_forward, shorten
from torchloupe.lens.diagnosis import spell
from torchloupe.lens.summary import MakeOptimizer, Summary, summarise
from torchloupe.model.catalog import make_model
from torchloupe.model.optimizers import OPTIMIZERS, make_optimizer
from torchloupe.model.outputs import take_logits
from torchloupe.trained.run import open_run
from torchloupe.units import format_bytes, format_count, plural

Shape = tuple[int, int, int]


def summary_of(
    name: str,
    shape: Shape,
    classes: int,
    *,
    images: int = 1,
    timed: bool = True,
    device: str = "auto",
) -> Summary:
    """The summary of a model from the catalog, for images of `shape` (channels, height, width)."""
    place = choose_device(device).device
    channels, height, width = shape
    model = make_model(
        name, in_channels=channels, classes=classes, image_size=(height, width), options={}
    )
    take_logits(model, classes)
    batch = torch.zeros(images, *shape, device=place)
    return _summarise(model.to(place), batch, classes, timed, torch.optim.AdamW)


def summary_of_run(
    folder: str, trust_code: bool, *, images: int = 1, timed: bool = True, device: str = "auto"
) -> tuple[str, Summary]:
    """The model's name and the summary of a run's model, for its own images and optimizer."""
    run = open_run(folder, trust_code=trust_code, device=device)
    batch = torch.zeros(images, run.contract.channels, *run.contract.size, device=run.device)
    settings = run.config.optimizer

    def make(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return make_optimizer(
            settings.name,
            nn.ParameterList(parameters),
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            options=settings.options,
        )

    # A user's own optimizer is code, which is not run for a summary.
    chosen = make if settings.name.lower() in OPTIMIZERS else torch.optim.AdamW
    found = _summarise(run.model, batch, len(run.class_names), timed, chosen)
    return run.config.model.name, found


def describe_summary(name: str, summary: Summary) -> Text:
    """The layers as a table, with totals."""
    timed = summary.forward_seconds is not None
    cells = [["layer", "type", "output", "parameters", "FLOPs", "activations"]]
    cells[0] += ["forward", "backward"] if timed else []
    for layer in summary.layers:
        if layer.type == "Identity":
            continue
        row = [
            shorten(printable(layer.name), 40),
            printable(layer.type, 24),
            spell(layer.output_shape),
            f"{layer.parameters:,}" if layer.parameters else "-",
            format_count(layer.flops) if layer.flops else "-",
            format_bytes(layer.activation_bytes) if layer.activation_bytes else "-",
        ]
        row += [spell_time(layer.forward_seconds), spell_time(layer.backward_seconds)][: 2 * timed]
        cells.append(row)
    text = align(cells, right=(3, 4, 5, 6, 7), header=True)
    memory = {
        "weights": summary.weight_bytes,
        "gradients": summary.gradient_bytes,
        printable(summary.optimizer) or "optimizer": summary.optimizer_bytes,
        "activations": summary.activation_bytes,
    }
    learns = "" if summary.trainable == summary.parameters else f", {summary.trainable:,} to learn"
    batch = plural(summary.input_shape[0], "image")
    lines = [
        ("parameters", f"{summary.parameters:,}{learns}"),
        ("FLOPs", f"{format_count(summary.flops)} forward, for {batch}"),
        ("memory", ", ".join(f"{name} {format_bytes(size)}" for name, size in memory.items())),
    ]
    if timed:
        forward, backward = (
            spell_time(summary.forward_seconds),
            spell_time(summary.backward_seconds),
        )
        lines.append(("time", f"forward {forward}, backward {backward}, for {batch}"))
    text.append(f"\n{printable(name)}\n", "bold")
    return text.append_text(align([list(line) for line in lines], indent=2))


def to_objects(name: str, summary: Summary) -> dict[str, Any]:
    """The summary for JSON."""
    values = asdict(summary)
    values.pop("parts")
    layers = values.pop("layers")
    return {"model": name, **values, "layers": layers}


def spell_time(seconds: float | None) -> str:
    """`12 µs`, `3.4 ms`, `1.2 s`; a dash where nothing was timed."""
    if seconds is None:
        return "-"
    if seconds < 1e-3:
        return f"{1e6 * seconds:.0f} µs"
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _summarise(
    model: nn.Module, batch: torch.Tensor, classes: int, timed: bool, optimizer: MakeOptimizer
) -> Summary:
    explain_forward(model, batch, classes)
    return summarise(model, batch, optimizer=optimizer, timed=timed)
