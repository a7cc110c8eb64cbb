"""Why a forward pass failed, in terms of the layer that failed.

From a trace and the error: what was wanted, what was seen, and a hint.
"""

import math
import os
import re
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from torchloupe.errors import did_you_mean, printable
from torchloupe.lens.trace import Call, Shape, Trace


@dataclass(frozen=True)
class Finding:
    """What is wrong, and one thing to do; also where, and an image side that may be fine."""

    text: str
    hint: str
    place: str = ""
    fitting_size: int = 0


def find_cause(trace: Trace) -> Finding:
    """Why the forward of `trace`, which has an error, stopped."""
    error, call = trace.error, trace.innermost
    if error is None:
        raise ValueError("this forward did not fail")
    reason = _first_line(error)
    if isinstance(error, NotImplementedError) and 'required "forward" function' in reason:
        return Finding(
            f"{type(call.module).__name__ if call is not None else 'the model'} has no forward",
            "define def forward(self, x): at the level of __init__, not inside it",
        )
    if call is not None and type(call.module).__module__.startswith("torch.nn."):
        finding = _layer_cause(call, trace, reason)
    else:
        finding = _code_cause(call, trace, error, reason)
    return replace(finding, place=_place(error))


def is_too_small(trace: Trace) -> bool:
    """Whether the forward stopped because nothing was left of the images to pool or convolve."""
    reason = str(trace.error)
    return any(text in reason for text in _TOO_SMALL)


def spell(shape: Shape | None) -> str:
    """`[2, 64, 8, 8]`, or a dash for no shape."""
    return "-" if shape is None else "[" + ", ".join(str(side) for side in shape) + "]"


_TOO_SMALL = (
    "Output size is too small",
    "Kernel size can't be greater than actual input size",
    "Expected more than 1 spatial element",
)


def _layer_cause(call: Call, trace: Trace, reason: str) -> Finding:
    layer, shape = call.module, call.input_shape
    title = f"{_spell_name(call)} ({type(layer).__name__})"
    finding = None
    if shape is not None:
        if is_too_small(trace):
            return Finding(
                f"{title} has nothing left to work on: {spell(trace.images)} images have become "
                f"{spell(shape)}",
                "use larger images (--set data.size=64), or fewer pooling layers and strides",
            )
        if isinstance(layer, nn.Linear):
            finding = _linear_cause(title, layer, call, trace)
        elif isinstance(layer, nn.modules.conv._ConvNd):
            finding = _convolution_cause(title, layer, call, trace)
        elif isinstance(layer, (nn.modules.batchnorm._NormBase, nn.LayerNorm)):
            finding = _norm_cause(title, layer, call, trace)
    return finding or _by_message(
        call,
        f"{title} can't take {spell(shape)}: {reason}",
        reason,
        f"look at what comes in: {_came_from(call, trace)}",
    )


def _linear_cause(title: str, layer: nn.Linear, call: Call, trace: Trace) -> Finding | None:
    shape, wanted = call.input_shape or (), layer.in_features
    if not shape or shape[-1] == wanted:
        return None
    name = _spell_name(call)
    numbers = math.prod(shape[1:])
    if len(shape) > 2 and numbers == wanted:
        return Finding(
            f"{title} takes {wanted} features (in_features), it got {spell(shape)}, which is not "
            "flattened",
            f"put x = x.flatten(1) before {name}: {_times(shape[1:])} = {wanted}",
        )
    if len(shape) > 2:
        return Finding(
            f"{title} takes {wanted} features (in_features), it got {spell(shape)}, which is not "
            "flattened",
            f"put x = x.flatten(1) before {name}, and make it a Linear({numbers}, "
            f"{layer.out_features})",
        )
    text = f"{title} takes {wanted} features (in_features), it got {shape[-1]}"
    hint = f"make {name} a Linear({shape[-1]}, {layer.out_features})"
    origin = _flattened_from(shape[-1], call, trace)
    if origin is None:
        return Finding(text, hint)
    return Finding(
        f"{text} = {_times(origin[1])} after {origin[0]}",
        hint,
        fitting_size=_fitting_size(wanted, origin[1], trace.images),
    )


def _convolution_cause(
    title: str, layer: nn.modules.conv._ConvNd, call: Call, trace: Trace
) -> Finding | None:
    shape, wanted = call.input_shape or (), layer.in_channels
    dims = len(layer.kernel_size) + 2
    if len(shape) != dims and len(shape) != dims - 1:
        return Finding(
            f"{title} takes {dims} dimensions, batch and channels first; it got {spell(shape)}",
            "flatten after the last convolution, not before",
        )
    channels = shape[1] if len(shape) == dims else shape[0]
    if channels == wanted:
        return None
    text = f"{title} takes {wanted} channels (in_channels), it got {channels}: {spell(shape)}"
    name = _spell_name(call)
    change = f"make {name} a {type(layer).__name__}({channels}, {layer.out_channels}, ...)"
    if shape == trace.images:
        mode = {1: "L", 3: "RGB"}.get(wanted)
        text = (
            f"{title} takes {wanted} channels (in_channels), the images have {channels}: "
            f"{spell(shape)}"
        )
        if len(shape) == 4 and shape[-1] == wanted:
            return Finding(text, "turn the images to channels first: NHWC to NCHW")
        return Finding(text, f"{change}{f', or --set data.mode={mode}' if mode else ''}")
    return Finding(text, f"{change}, to take {_came_from(call, trace)}")


def _norm_cause(
    title: str, layer: nn.modules.batchnorm._NormBase | nn.LayerNorm, call: Call, trace: Trace
) -> Finding | None:
    shape, name = call.input_shape or (), _spell_name(call)
    if isinstance(layer, nn.LayerNorm):
        wanted = tuple(layer.normalized_shape)
        text = f"{title} takes {spell(wanted)} as last dimensions, it got {spell(shape)}"
        if len(shape) == 4 and wanted == shape[1:2]:  # channels come second, not last
            return Finding(
                text, f"make {name} a GroupNorm(1, {shape[1]}), or permute to NHWC first"
            )
        return Finding(text, f"make {name} a LayerNorm({list(shape[-len(wanted) :])})")
    if len(shape) < 2 or shape[1] == layer.num_features:
        if len(shape) == 2 and not isinstance(layer, nn.modules.batchnorm.BatchNorm1d):
            return Finding(
                f"{title} takes feature maps [batch, channels, height, width], it got "
                f"{spell(shape)}",
                f"make {name} a BatchNorm1d({shape[1]}), or move it before the flatten",
            )
        return None
    return Finding(
        f"{title} takes {layer.num_features} channels (num_features), it got {shape[1]}: "
        f"{spell(shape)}",
        f"make {name} a {type(layer).__name__}({shape[1]}), to take {_came_from(call, trace)}",
    )


def _code_cause(call: Call | None, trace: Trace, error: Exception, reason: str) -> Finding:
    """A failure in code between layers: a reshape, an addition, a name that isn't there."""
    inside = f" inside {printable(call.name)}" if call is not None and call.name else ""
    before = _came_from(call, trace)
    reshape = re.search(r"shape '\[([-\d, ]+)\]' is invalid for input of size (\d+)", reason)
    if reshape:
        return _reshape_cause(inside, reshape[1], int(reshape[2]), call, trace)
    if isinstance(error, TypeError) and "forward()" in reason:
        return Finding(
            f"the model's forward can't be called with the images alone: {reason}",
            "let it take one argument, the images [batch, channels, height, width]",
        )
    missing = re.search(r"object has no attribute '(\w+)'", reason)
    if isinstance(error, AttributeError) and missing and call is not None:
        known = [name for name, _ in call.module.named_children()]
        near = did_you_mean(missing[1], known) if known else "define it in __init__"
        return Finding(f"the code{inside} fails: {reason}", near)
    if "must match" in reason:
        last = [c for c in trace.calls if c.is_over and c.output_shape and not _has_parts(c)][-2:]
        shapes = " and ".join(f"{_spell_name(c)} gives {spell(c.output_shape)}" for c in last)
        if len({call.output_shape for call in last}) == 1:  # not what was joined
            shapes = ""
        return Finding(
            f"the code{inside} joins tensors whose shapes don't fit: {reason}",
            f"make their sides equal (padding, stride): {shapes}"
            if shapes
            else "make their sides equal",
        )
    return _by_message(
        call,
        f"the code{inside} fails: {type(error).__name__}: {reason}",
        reason,
        f"look at that line; last came {before}",
    )


def _reshape_cause(inside: str, asked: str, size: int, call: Call | None, trace: Trace) -> Finding:
    text = f"the code{inside} asks for shape [{asked}], which {size} numbers don't fill"
    origin = _flattened_from(size // trace.images[0], call, trace)
    if origin is None:
        return Finding(text, "use x.flatten(1), which takes any size")
    features = math.prod(origin[1])
    last = asked.rpartition(",")[2].strip()
    return Finding(
        f"{text}: after {origin[0]} an image is {_times(origin[1])} = {features}",
        f"use x.flatten(1), and make the linear layer after it a Linear({features}, ...)",
        fitting_size=_fitting_size(int(last), origin[1], trace.images) if last.isdigit() else 0,
    )


def _by_message(call: Call | None, text: str, reason: str, otherwise: str) -> Finding:
    """A finding for errors whose own text is clear."""
    if "same device" in reason or "different devices" in reason or "on device" in reason:
        return Finding(text, "make tensors in forward where the images are: device=x.device")
    number_format = _own_format(call)
    if number_format and any(word in reason for word in ("type", "Half", "Float", "Double")):
        undo, setting = number_format
        return Finding(text, f"leave {undo} out: weights stay in float32, and {setting}")
    if "dtype" in reason or "should be the same" in reason or "expected scalar type" in reason:
        return Finding(
            text, "images come as float32: don't convert them, or convert the model alike"
        )
    return Finding(text, otherwise)


def _own_format(call: Call | None) -> tuple[str, str] | None:
    """What gave a layer's weights another number format than float32, and what to do instead."""
    weights = [] if call is None else [p.dtype for p in call.module.parameters()]
    found = next((dtype for dtype in weights if dtype in _OTHER_FORMATS), None)
    if found is not None and found == torch.get_default_dtype():
        return f"torch.set_default_dtype({found})", _OTHER_FORMATS[found][1]
    return None if found is None else _OTHER_FORMATS[found]


_OTHER_FORMATS = {
    torch.float16: (".half()", "--precision fp16 computes in float16"),
    torch.bfloat16: (".bfloat16()", "--precision bf16 computes in bfloat16"),
    torch.float64: (".double()", "--precision fp32 computes in float32"),
}


def _flattened_from(features: int, call: Call | None, trace: Trace) -> tuple[str, Shape] | None:
    """The last layer before `call` whose maps lead to `features` numbers an image, as [C, H, W].

    Pooling in plain code leaves no trace; square maps of that layer's channels are assumed then.
    """
    maps = [
        (_spell_name(earlier), earlier.output_shape[1:])
        for earlier in reversed(trace.calls)
        if earlier is not call
        and earlier.is_over
        and not _has_parts(earlier)
        and earlier.output_shape is not None
        and len(earlier.output_shape) == 4
        and earlier.output_shape[0] == trace.images[0]
    ]
    for name, shape in maps:
        if math.prod(shape) == features:
            return name, shape
    if maps:
        name, (channels, height, _) = maps[0]
        side = math.isqrt(features // channels)
        if 0 < side <= height and side * side * channels == features:
            return name, (channels, side, side)
    return None


def _fitting_size(wanted: int, maps: Shape, images: Shape) -> int:
    """About the side of square images that give `wanted` features where these give `maps`; or 0."""
    channels, height, width = maps
    if height != width or images[-1] != images[-2]:
        return 0
    side = math.isqrt(wanted // channels)
    return side * images[-1] // height if side * side * channels == wanted else 0


def _came_from(call: Call | None, trace: Trace) -> str:
    """What the layer before gave, in words."""
    finished = [c for c in trace.calls if c.is_over and c.output_shape and not _has_parts(c)]
    if call is not None and call.input_shape is not None:
        fitting = [c for c in finished if c.output_shape == call.input_shape]
        finished = fitting or finished
    if not finished:
        return f"the images, {spell(trace.images)}"
    return f"{spell(finished[-1].output_shape)} from {_spell_name(finished[-1])}"


def _spell_name(call: Call) -> str:
    """`layer fc1`, or `the model` if that is a single layer."""
    return f"layer {printable(call.name)}" if call.name else "the model"


def _has_parts(call: Call) -> bool:
    return any(call.module.children())


def _times(shape: Shape) -> str:
    return " x ".join(str(side) for side in shape)


def _first_line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return printable(text) if text else type(error).__name__


def _place(error: Exception) -> str:
    """`my_model.py, line 12: x = self.fc(x)`: the last line that is neither torch's nor ours."""
    aside = tuple(str(Path(file).parent) + os.sep for file in (torch.__file__, __file__))
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(aside)
    ]
    if not own:
        return ""
    line = f": {own[-1].line}" if own[-1].line else ""
    return printable(f"{Path(own[-1].filename).name}, line {own[-1].lineno}{line}", 120)
