"""What a model is made of, layer by layer with shapes, and why a forward pass fails.

The model is left as it was; see trace.py.
"""

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from torchloupe.errors import UsageError, printable
from torchloupe.lens.diagnosis import Finding, find_cause, is_too_small, spell
from torchloupe.lens.trace import Call, Shape, Trace, shape_of, trace_forward

COMMON_SIZES = (28, 32, 64, 96, 128, 224)
LARGEST_TRIED = 256  # pixels
THE_MODEL = "(the model)"  # the name of a model among its layers


@dataclass(frozen=True)
class LayerRow:
    """One layer as it was called; shapes are None if it was not, or took or gave no tensor.

    A parameter shared by several layers, or a layer called twice, counts once.
    """

    name: str
    type: str
    input_shape: Shape | None
    output_shape: Shape | None
    parameters: int


def parameter_count(model: nn.Module) -> int:
    """How many numbers the model learns or could learn; shared ones once, lazy ones not yet."""
    return sum(p.numel() for p in model.parameters() if not is_lazy(p))


def layer_table(model: nn.Module, images: Tensor) -> list[LayerRow]:
    """The layers in the order in which `images` [B, C, H, W] pass them, in eval mode.

    Layers with parameters that were never called come last. Raises UsageError, as
    `explain_forward` does, for a model that fails.
    """
    trace = trace_forward(model, images)
    if trace.error is not None:
        raise _refuse(model, images, trace, find_cause(trace)) from trace.error
    return _rows(model, trace.calls)


def explain_forward(model: nn.Module, images: Tensor, classes: int | None = None) -> None:
    """Run `images` [B, C, H, W] through the model in training and eval mode; say why it fails.

    Raises UsageError that names the layer, what it wanted and what it got, and shows the table
    of layers up to it; likewise when the output is not one tensor [B, `classes`]. A single
    image is tried in eval mode only, since BatchNorm can't train on one.
    """
    for training in (True, False) if len(images) > 1 else (False,):
        trace = trace_forward(model, images, training=training)
        if trace.error is not None:
            raise _refuse(model, images, trace, find_cause(trace)) from trace.error
        finding = _check_output(trace, classes)
        if finding is not None:
            raise _refuse(model, images, trace, finding)


def format_layers(rows: Sequence[LayerRow], *, limit: int = 0, failed: int | None = None) -> str:
    """The table as text of at most 100 columns; `limit` keeps the last rows, 0 keeps all.

    `failed` is the number of the row whose output is shown as failed.
    """
    start = max(0, len(rows) - limit) if limit else 0
    lines = [["layer", "type", "input", "output", "parameters"]]
    for number, row in enumerate(rows[start:], start):
        output = "failed" if number == failed else spell(row.output_shape)
        kind = shorten(printable(row.type), 18)
        cells = [printable(row.name), kind, spell(row.input_shape), output, f"{row.parameters:,}"]
        lines.append(cells)
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    widths[0] = min(widths[0], max(12, 100 - 2 * 5 - sum(widths[1:])))
    text = []
    for name, *cells, parameters in lines:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths[1:4], strict=True)]
        first = shorten(name, widths[0]).ljust(widths[0])
        text.append("  " + "  ".join([first, *padded, parameters.rjust(widths[4])]))
    if start:
        text.insert(1, f"  ({start} layers before)")
    return "\n".join(text)


def _rows(model: nn.Module, calls: Sequence[Call]) -> list[LayerRow]:
    names = {module: name for name, module in model.named_modules()}
    hidden = hidden_parts(model)
    counted: set[int] = set()
    rows, called = [], set()
    for call in calls:
        called.add(call.module)
        if call.module not in hidden and is_layer(call.module):
            rows.append(_row(call, counted))
    for module, name in names.items():
        if module not in called and module not in hidden and own_parameters(module):
            row = _row(Call(name, module, None), counted)
            rows += [row] if row.parameters else []
    return rows


def hidden_parts(model: nn.Module) -> set[nn.Module]:
    """Modules whose work and parameters count as those of the attention they belong to."""
    return {
        child
        for module in model.modules()
        if isinstance(module, nn.MultiheadAttention)  # it uses its parts without calling them
        for child in module.modules()
        if child is not module
    }


def _row(call: Call, counted: set[int]) -> LayerRow:
    new = [p for p in own_parameters(call.module) if id(p) not in counted]
    counted.update(id(p) for p in new)
    return LayerRow(
        call.name or THE_MODEL,
        type(call.module).__name__,
        call.input_shape,
        call.output_shape,
        sum(p.numel() for p in new if not is_lazy(p)),
    )


def is_layer(module: nn.Module) -> bool:
    """Whether it is listed: it has no submodules, or parameters besides theirs."""
    return not any(module.children()) or bool(own_parameters(module))


def own_parameters(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that are counted as the module's, and not as those of its parts."""
    return list(module.parameters(recurse=isinstance(module, nn.MultiheadAttention)))


def _refuse(model: nn.Module, images: Tensor, trace: Trace, finding: Finding) -> UsageError:
    """The error: what is wrong, the table of the layers up to there, and a hint."""
    calls = [call for call in trace.calls if call.is_over or call is trace.innermost]
    rows = _rows(model, calls)
    reached = [row for row in rows if row.input_shape is not None or row.output_shape is not None]
    at = trace.innermost
    in_layer = at is not None and is_layer(at.module)
    table = format_layers(reached, limit=12, failed=len(reached) - 1 if in_layer else None)
    parts = [finding.text, *([table] if reached else [])]
    if finding.place:
        parts.append(f"  at {finding.place}")
    return UsageError("\n".join(parts), _hint(model, images, trace, finding))


def _hint(model: nn.Module, images: Tensor, trace: Trace, finding: Finding) -> str:
    """The finding's hint, with an image size that works if one was found."""
    if is_too_small(trace):
        side = max(images.shape[-2:])
        sizes = [side << doublings for doublings in range(1, 8)]
    elif finding.fitting_size:
        about = finding.fitting_size
        near = [size for size in COMMON_SIZES if abs(size - about) <= about / 4]
        sizes = [*sorted(near, key=lambda size: abs(size - about)), about]
    else:
        return finding.hint
    for size in sizes:
        if size <= LARGEST_TRIED and _takes(model, images, size):
            if is_too_small(trace):
                return f"use larger images, {size} pixels are enough: --set data.size={size}"
            return f"{finding.hint}, or use {size}x{size} images: --set data.size={size}"
    return finding.hint


def _takes(model: nn.Module, images: Tensor, size: int) -> bool:
    square = torch.zeros(1, images.shape[1], size, size, dtype=images.dtype, device=images.device)
    return trace_forward(model, square).error is None


def _check_output(trace: Trace, classes: int | None) -> Finding | None:
    """What is wrong with the output, if it is not logits [B, classes]."""
    output, batch = trace.output, trace.images[0]
    wanted = f"[{batch}, {classes}]" if classes else f"[{batch}, classes]"
    if not isinstance(output, Tensor):
        return _wrong_kind(output, wanted, batch, classes)
    given = spell(tuple(output.shape))
    text = f"the model gives {given}, training takes {wanted}: one number per image and class"
    if output.ndim == 0 or output.shape[0] != batch:
        return Finding(
            f"the model gives {given} for {batch} images: images were mixed with each other",
            "flatten with x.flatten(1), which keeps the images apart; view(-1, n) does not",
        )
    if output.ndim > 2:
        return Finding(text, "end with x.mean(dim=(2, 3)) or x.flatten(1) and a linear layer")
    if not output.is_floating_point():
        return Finding(
            f"the model gives {str(output.dtype).removeprefix('torch.')} numbers, training takes "
            "logits, which are fractions",
            "return the outputs of the last layer, without argmax",
        )
    outputs = output.shape[1] if output.ndim == 2 else 1
    if output.ndim == 2 and classes in (None, outputs):
        return None
    last = [call for call in trace.calls if call.output_shape == tuple(output.shape) and call.name]
    layer = next((call for call in last if isinstance(call.module, nn.Linear)), None)
    wanted_outputs = f"{classes} outputs" if classes else "one output per class"
    change = f"let the model's last layer have {wanted_outputs}"
    if layer is not None and isinstance(layer.module, nn.Linear):
        shape = f"({layer.module.in_features}, {classes or 'classes'})"
        change = f"make layer {printable(layer.name)} a Linear{shape}"
    numbers = f"{outputs} output{'s' if outputs != 1 else ''} per image"
    argument = _class_argument(trace.calls[0].module) if trace.calls and classes else ""
    return Finding(
        f"the model gives {given}, {numbers}; the data have {classes or 'two or more'} classes",
        f"make the model with {argument}={classes}, or {change}"
        if argument
        else f"{change}, or let the model's constructor take `classes`, which is filled in",
    )


def _class_argument(model: nn.Module) -> str:
    """What the constructor of `model` calls the number of classes; "" if it takes none."""
    try:
        names = inspect.signature(type(model)).parameters
    except (TypeError, ValueError):  # made in C
        return ""
    kind = re.compile(r"((n|nb|num)_?)?class(es)?(_nums?|_count)?|nc|num_labels")
    return next((name for name in names if kind.fullmatch(name)), "")


def _wrong_kind(output: Any, wanted: str, batch: int, classes: int | None) -> Finding:
    if output is None:
        return Finding("the model's forward returns nothing", "end it with `return x`")
    what = f"a {type(output).__name__}"
    parts: dict[str, Any] = {}
    if isinstance(output, dict):
        parts = {f"[{key!r}]": value for key, value in output.items()}
    elif isinstance(output, (tuple, list)):
        parts = {f"[{place}]": value for place, value in enumerate(output)}
    if parts:
        shown = [f"{key} {spell(shape_of(value))}" for key, value in list(parts.items())[:4]]
        what += f" of {len(parts)}: {printable(', '.join(shown))}"
    logits = [
        key
        for key, value in parts.items()
        if isinstance(value, Tensor)
        and (value.shape == (batch, classes) if classes else value.ndim == 2)
    ]
    which = f"return its {printable(logits[0])} alone" if logits else "return the logits alone"
    return Finding(f"the model gives {what}; training takes one tensor {wanted}", which)


def shorten(text: str, width: int) -> str:
    """The end of a `text` that is too long: the most telling part of a dotted name."""
    return text if len(text) <= width else "…" + text[1 - width :]
