"""Which layers of a model give maps of the image, and how the maps lie in what they give.

Maps are [B, C, h, w], or [B, h, w, C] as some transformers have them, or tokens [B, N, C] of a
grid of patches, with class or register tokens before them.
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from torchloupe.errors import UsageError, did_you_mean, printable
from torchloupe.lens.diagnosis import spell
from torchloupe.lens.selection import Which, closed_around, plain_model, select_layers
from torchloupe.lens.trace import is_dense, shape_of, trace_forward
from torchloupe.lens.watch import watch

LEADING_TOKENS = (0, 1, 2, 4, 5)  # class, distillation and register tokens before the patches
MOST_LAYERS = 4  # layers whose maps are shown by default


def maps_of(output: Any, size: tuple[int, int]) -> Tensor | None:
    """The maps [B, C, h, w] in a layer's output for images of `size` (height, width).

    A view, with its graph; None for an output without maps, or with maps of one pixel.
    """
    if not isinstance(output, Tensor) or not is_dense(output) or not output.is_floating_point():
        return None
    if output.ndim == 4:
        first, last = _distance(output.shape[2:], size), _distance(output.shape[1:3], size)
        if min(first, last) > 0.5:
            return None
        return output if first <= last else output.permute(0, 3, 1, 2)
    if output.ndim == 3:
        for leading in LEADING_TOKENS:
            for patch in range(2, min(size) // 2 + 1):
                grid = (size[0] // patch, size[1] // patch)
                if math.prod(grid) == output.shape[1] - leading > 1:
                    maps = output[:, leading:].transpose(1, 2)
                    return maps.reshape(*maps.shape[:2], *grid)
    return None


def live_maps(model: nn.Module, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """What each layer gave that gives maps, by name in the order they were done; and the logits.

    Outputs keep their graph, so that gradients by them can be had. Layers that give back what
    they took are left out, and those inside a compiled graph, where nothing can be seen.
    """
    named = {module: name for name, module in plain_model(model).named_modules()}
    size = (images.shape[-2], images.shape[-1])
    outputs: dict[str, Tensor] = {}

    def look(module: nn.Module, _inputs: Any, output: Any) -> None:
        name = named[module]
        outputs.pop(name, None)  # called again: it was done last just now
        if maps_of(output, size) is not None and output.requires_grad:  # not inside checkpoint()
            outputs[name] = output

    open_layers = [
        module
        for module, name in named.items()
        if name and closed_around(model, name) is None and not isinstance(module, _PASSING)
    ]
    with watch(model, open_layers or model, look):
        logits = model(images)
    return outputs, logits


_PASSING = (nn.Identity, nn.Dropout, nn.Dropout2d)


def choose_layers(
    model: nn.Module, outputs: Sequence[str], which: Which, images: Tensor
) -> list[str]:
    """The layers that `which` means, of those in `outputs`, which give maps; in their order.

    Raises UsageError if a layer that is meant gives none, unless a pattern means others too.
    """
    meant = select_layers(model, which)
    chosen = [name for name in outputs if name in meant]
    if chosen:
        return chosen
    name = next(iter(meant))
    is_point = name in _single_places(model, images)
    what = "maps of 1x1, which show no place in the image" if is_point else "no maps of the image"
    raise UsageError(
        f"layer {printable(name) or 'that is the whole model'} gives {what}",
        did_you_mean(name, outputs, otherwise=f"layers that do: {_some(outputs)}"),
    )


def refuse_flat(model: nn.Module, outputs: Sequence[str], images: Tensor) -> None:
    """UsageError for a model none of whose layers gives maps."""
    if outputs:
        return
    points = _single_places(model, images)
    if points:
        height, width = images.shape[-2:]
        raise UsageError(
            f"no layer of this model gives maps of the image: of {height}x{width} pixels layer "
            f"{printable(points[0])} makes maps of 1x1, which show no place",
            "train with larger images (--set data.size=64), or with fewer strides and pooling "
            "layers; `loupe predict` works with any",
        )
    kinds = {type(module).__name__ for module in model.modules() if not any(module.children())}
    raise UsageError(
        f"no layer of this model gives maps of the image (for {spell(shape_of(images))} there is "
        f"none with height and width): it has {printable(', '.join(sorted(kinds)))}",
        "a model with a convolution gives maps; `loupe predict` works with any",
    )


def _single_places(model: nn.Module, images: Tensor) -> list[str]:
    """The layers that give feature maps of a single pixel, such as [B, C, 1, 1]."""
    calls = trace_forward(model, images.detach()).calls
    return [
        call.name
        for call in calls
        if call.name
        and not any(call.module.children())
        and call.output_shape is not None
        and len(call.output_shape) == 4
        and 1 in (math.prod(call.output_shape[2:]), math.prod(call.output_shape[1:3]))
    ]


def pick_layers(outputs: dict[str, Tensor], size: tuple[int, int], last: str) -> list[str]:
    """A few of the layers up to `last`: of each part of the model the last of each map size."""
    names = list(outputs)
    by_place: dict[tuple[Any, ...], str] = {}
    for name in names[: names.index(last) + 1]:
        maps = maps_of(outputs[name], size)
        if maps is not None:
            place = (name.partition(".")[0], *maps.shape[2:])
            by_place.pop(place, None)
            by_place[place] = name
    chosen = list(by_place.values())
    count = min(len(chosen), MOST_LAYERS)
    return [chosen[-1 - (len(chosen) - 1) * k // max(count - 1, 1)] for k in reversed(range(count))]


def _distance(grid: Sequence[int], size: tuple[int, int]) -> float:
    """How far a grid's aspect ratio is from the image's; infinite for no possible grid."""
    height, width = grid
    if height * width < 2 or height > size[0] or width > size[1]:
        return math.inf
    return abs(math.log(height / width * size[1] / size[0]))


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name, 60) for name in names[-6:])
    return shown + (f" and {len(names) - 6} before them" if len(names) > 6 else "")
