"""Whether the logits of an image depend on the other images of its batch, and in which layer.

In eval mode they must not: a prediction would change with what else is predicted.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchloupe.lens.trace import is_dense, unchanged, uncompiled

COMPANY = 4  # images of a batch that is compared
CLOSE = 1e-4  # of the largest logit: the same kernels on a batch of the same size differ by less
ROUGH = 1e-2  # between batches of different sizes, whose kernels may be others


@dataclass(frozen=True)
class Dependence:
    """An image's logits differ by `gap`, a share of the largest, from those in another batch."""

    layer: str  # the first layer whose output differs, with its type; empty for none
    gap: float
    is_size: bool = False  # the number of the other images matters, and not what they show
    shape: tuple[int, ...] = ()  # of the output for one image alone, if it has no batch


def find_dependence(model: nn.Module, images: Tensor) -> Dependence | None:
    """How the logits of the first of `images` [B, C, H, W] depend on those beside it.

    Two batches are compared that differ in all images but that one, which has others before and
    after it; then a batch of one with one of four. Random numbers are the same in all; a model
    that fails on a batch of one is only compared in larger ones.
    """
    first = images[:1]
    places = [(place % len(images)) for place in range(1, COMPANY)]
    others = images[places]
    batch = _among(first, others)
    ours = eval_output(model, batch)[1]
    other, theirs = _among_others(model, first, others)
    gap = gap_of(ours, theirs)
    tolerance = max(CLOSE, 16 * torch.finfo(ours.dtype).eps)
    if gap > tolerance:
        layers = layer_outputs(model, batch, row=1), layer_outputs(model, other, row=1)
        return Dependence(_first_difference(model, *layers, tolerance), gap)
    try:
        alone = eval_output(model, first)
    except Exception:  # forwards here are of several images
        return None
    if alone.ndim != ours.ndim + 1:  # squeezed away
        return Dependence("", 1.0, is_size=True, shape=tuple(alone.shape))
    gap = gap_of(ours, alone[0])
    rough = max(ROUGH, 64 * torch.finfo(alone.dtype).eps)
    if gap > rough:
        layers = layer_outputs(model, batch, row=1), layer_outputs(model, first, row=0)
        return Dependence(_first_difference(model, *layers, rough), gap, is_size=True)
    return None


def _among_others(model: nn.Module, first: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """A batch of the first image with images that are certain to be different from `others`, and
    what the model gives the first.
    """
    mirrored = others.flip(-1)
    batch = _among(first, -mirrored)
    try:
        return batch, eval_output(model, batch)[1]
    except Exception:  # a model may look values up in a table, which has none below 0
        batch = _among(first, mirrored.roll(1, 0))
        return batch, eval_output(model, batch)[1]


def first_difference(model: nn.Module, other: nn.Module, images: Tensor) -> str | None:
    """The first layer that gives other numbers in `other` than in `model`, with its type.

    None if the logits are the same, bit for bit; empty if no layer can be named. Where
    `model` itself does not repeat its bits, differences as small as its own don't count.
    """
    ours = eval_output(model, images)
    gap = gap_of(ours, eval_output(other, images))
    if gap == 0:
        return None
    own = gap_of(ours, eval_output(model, images))
    if own and gap <= max(CLOSE, 2 * own):
        return None
    layers = layer_outputs(model, images), layer_outputs(other, images)
    return _first_difference(model, *layers, 0.0)


def eval_output(model: nn.Module, images: Tensor, seed: int = 0) -> Tensor:
    """What the model gives `images` in eval mode; its weights, buffers and mode stay."""
    with unchanged(model, images.device), uncompiled(model), torch.no_grad():
        torch.manual_seed(seed)
        model.eval()
        output: Tensor = model(images.clone())  # which a layer may change in place
    return output


def layer_outputs(
    model: nn.Module, images: Tensor, seed: int = 0, row: int | None = None
) -> list[tuple[str, Tensor]]:
    """(layer, its output [B, ...]) in the order of the calls in eval mode; the model's is last.

    With `row`, the outputs of that image alone. All are kept at once: several GB for large images.
    """
    found: list[tuple[str, Tensor]] = []
    kept = slice(None) if row is None else row

    def keep(name: str) -> Any:
        def look(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, tuple) and output:  # of attention and recurrent layers
                output = output[0]
            if not isinstance(output, Tensor) or not is_dense(output) or not output.ndim:
                return
            if len(output) == len(images):
                found.append((name, output.detach()[kept].clone()))

        return look

    hooks = [
        module.register_forward_hook(keep(name))
        for name, module in model.named_modules()
        if name and not isinstance(module, torch.jit.ScriptModule)
    ]
    try:
        output = eval_output(model, images, seed)
    finally:
        for hook in hooks:
            hook.remove()
    return [*found, ("", output[kept])]


def _among(image: Tensor, others: Tensor) -> Tensor:
    """A batch with `image` second: a layer that runs along the batch, such as an LSTM with
    batch_first=False, passes on what came before.
    """
    return torch.cat([others[:1], image, others[1:]])


def _first_difference(
    model: nn.Module, ours: list[tuple[str, Tensor]], theirs: list[tuple[str, Tensor]], most: float
) -> str:
    for (name, one), (other_name, other) in zip(ours, theirs, strict=False):
        if name and name == other_name and gap_of(one, other) > most:
            return f"{name} ({type(model.get_submodule(name)).__name__})"
    return ""


def gap_of(one: Tensor, other: Tensor) -> float:
    """The largest difference, as a share of the largest number; NaN at the same places is none."""
    if one.shape != other.shape:
        return 1.0
    same = (one == other) | (one.isnan() & other.isnan())
    if bool(same.all()):
        return 0.0
    gap = (one.double() - other.double())[~same].abs().max()
    finite = one.double()[one.isfinite()].abs()
    scale = float(finite.max()) if len(finite) else 1.0
    share = float(gap) / max(scale, 1e-12)
    return float("inf") if math.isnan(share) else share
