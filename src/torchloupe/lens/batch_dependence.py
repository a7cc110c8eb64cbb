"""Whether the logits of an image depend on the other images of its batch, and in which layer.

In eval mode they must not: a prediction would change with what else is predicted.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchloupe.lens.trace import unchanged, uncompiled

COMPANY = 4  # images of a batch that is compared
CLOSE = 1e-4  # of the largest logit: the same kernels on a batch of the same size differ by less
ROUGH = 1e-2  # between batches of different sizes, whose kernels may be others


@dataclass(frozen=True)
class Dependence:
    """An image's logits differ by `gap`, a share of the largest, from those in another batch."""

    layer: str  # the first layer whose output differs, with its type; empty for none
    gap: float
    is_size: bool = False  # the number of the other images matters, and not what they show
    shape: tuple[int, ...] = ()  # of the output for one image alone, if it is not [1, K]


def find_dependence(model: nn.Module, images: Tensor) -> Dependence | None:
    """How the logits of the first of `images` [B, C, H, W] depend on those beside it.

    Two batches are compared that differ in all images but that one, which has others before and
    after it; then a batch of one with one of four. Random numbers are the same in all; a model
    that fails on a batch of one is only compared in larger ones.
    """
    first = images[:1]
    places = [(place % len(images)) for place in range(1, COMPANY)]
    others = images[places]
    ours = _rows_among(model, first, others)
    theirs = _among_others(model, first, others)
    gap = gap_of(ours[-1][1], theirs[-1][1])
    tolerance = max(CLOSE, 16 * torch.finfo(ours[-1][1].dtype).eps)
    if gap > tolerance:
        return Dependence(_first_difference(model, ours, theirs, tolerance), gap)
    try:
        alone = layer_outputs(model, first)
    except Exception:  # forwards here are of several images
        return None
    if alone[-1][1].ndim != 2:  # squeezed away
        return Dependence("", 1.0, is_size=True, shape=tuple(alone[-1][1].shape))
    alone = [(name, output[0]) for name, output in alone]
    gap = gap_of(ours[-1][1], alone[-1][1])
    rough = max(ROUGH, 64 * torch.finfo(alone[-1][1].dtype).eps)
    if gap > rough:
        return Dependence(_first_difference(model, ours, alone, rough), gap, is_size=True)
    return None


def _among_others(model: nn.Module, first: Tensor, others: Tensor) -> list[tuple[str, Tensor]]:
    """The first image with images that are certain to be different from `others`."""
    mirrored = others.flip(-1)
    try:
        return _rows_among(model, first, -mirrored)
    except Exception:  # a model may look values up in a table, which has none below 0
        return _rows_among(model, first, mirrored.roll(1, 0))


def first_difference(model: nn.Module, other: nn.Module, images: Tensor) -> str | None:
    """The first layer that gives other numbers in `other` than in `model`, with its type.

    None if the logits are the same, bit for bit; empty if no layer can be named. Where
    `model` itself does not repeat its bits, differences as small as its own don't count.
    """
    ours, theirs = layer_outputs(model, images), layer_outputs(other, images)
    gap = gap_of(ours[-1][1], theirs[-1][1])
    if gap == 0:
        return None
    own = gap_of(ours[-1][1], layer_outputs(model, images)[-1][1])
    if own and gap <= max(CLOSE, 2 * own):
        return None
    return _first_difference(model, ours, theirs, 0.0)


def layer_outputs(model: nn.Module, images: Tensor, seed: int = 0) -> list[tuple[str, Tensor]]:
    """(layer, its output [B, ...]) in the order of the calls in eval mode; the model's is last."""
    found: list[tuple[str, Tensor]] = []

    def keep(name: str) -> Any:
        def look(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, tuple) and output:  # of attention and recurrent layers
                output = output[0]
            if isinstance(output, Tensor) and output.ndim and len(output) == len(images):
                found.append((name, output.detach().clone()))

        return look

    hooks = [
        module.register_forward_hook(keep(name))
        for name, module in model.named_modules()
        if name and not isinstance(module, torch.jit.ScriptModule)
    ]
    try:
        with unchanged(model, images.device), uncompiled(model), torch.no_grad():
            torch.manual_seed(seed)
            model.eval()
            output = model(images.clone())  # which a layer may change in place
    finally:
        for hook in hooks:
            hook.remove()
    return [*found, ("", output)]


def _rows_among(model: nn.Module, image: Tensor, others: Tensor) -> list[tuple[str, Tensor]]:
    """What the layers give `image`, second in a batch: a layer that runs along the batch, such as
    an LSTM with batch_first=False, passes on what came before.
    """
    batch = torch.cat([others[:1], image, others[1:]])
    return [(name, output[1]) for name, output in layer_outputs(model, batch)]


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
