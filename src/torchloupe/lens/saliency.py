"""What a model saw in one image: its feature maps, and where the evidence for a class lies.

The place is that of Grad-CAM (Selvaraju et al. 2017) with gradients taken place by place
(HiResCAM, Draelos and Carin 2020, equation 3): each map times the gradient of the class's margin
by it, summed over maps, cut off below zero. For a head that averages the maps, the two are
equal; for others, HiResCAM shows only the places that were used. The model is left as it was,
without gradients in its parameters.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torchloupe.lens.maps import choose_layers, live_maps, maps_of, pick_layers, refuse_flat
from torchloupe.lens.selection import Which, plain_model
from torchloupe.lens.trace import unchanged


@dataclass(frozen=True)
class LayerMaps:
    """The maps [C, h, w] that one layer gave of the image, on the CPU."""

    name: str
    type: str
    maps: Tensor


@dataclass(frozen=True)
class Insight:
    """What was seen in one image.

    `heat[k]` [H, W], of the image's size and from 0 to 1, says where the evidence for class k
    is; all zero if no map speaks for it. `layer` is the one whose maps it is made of.
    """

    logits: Tensor  # [K]
    layer: str
    heat: dict[int, Tensor]
    layers: tuple[LayerMaps, ...]


def look_inside(
    model: nn.Module,
    image: Tensor,
    *,
    which: Which | None = None,
    classes: int = 3,
    multi_label: bool = False,
) -> Insight:
    """What `model` saw in `image` [1, C, H, W]: heat for the likeliest `classes`, and maps.

    `which` names the layers whose maps are given (see `select_layers`); heat is made of the last
    of them. Left out, maps are given of a few layers, and heat is made of the last layer whose
    maps the likeliest class depends on. Raises UsageError if there are no maps.
    """
    inner = plain_model(model)
    size = (image.shape[-2], image.shape[-1])
    with unchanged(inner, image.device), torch.enable_grad():
        inner.eval()
        # With a gradient by the image, frozen layers have one too.
        outputs, logits = live_maps(inner, image.detach().requires_grad_().clone())
        refuse_flat(inner, list(outputs), image)
        likeliest = logits[0].topk(min(classes, logits.shape[1])).indices.tolist()
        margins = {k: logits[0, k] if multi_label else _margin(logits[0], k) for k in likeliest}
        if which is None:
            layer = _last_that_matters(outputs, margins[likeliest[0]], inner)
            shown = pick_layers(outputs, size, layer)
        else:
            shown = choose_layers(inner, list(outputs), which, image)
            layer = shown[-1]
        heat = {k: _heat(outputs[layer], margin, size) for k, margin in margins.items()}
    kinds = {name: type(module).__name__ for name, module in inner.named_modules()}
    layers = [LayerMaps(name, kinds[name], _read(outputs[name], size)) for name in shown]
    return Insight(logits[0].detach().float().cpu(), layer, heat, tuple(layers))


def _margin(logits: Tensor, class_: int) -> Tensor:
    """The margin of a class over the others, which softmax turns into its probability.

    A logit alone says less: adding a constant to all of them changes nothing.
    """
    others = torch.cat([logits[:class_], logits[class_ + 1 :]])
    return logits[class_] - others.logsumexp(dim=0) if len(others) else logits[class_]


def _last_that_matters(outputs: dict[str, Tensor], margin: Tensor, model: nn.Module) -> str:
    """The last layer whose maps the class depends on.

    Of a transformer whose head reads the class token alone, the last block's patches don't
    matter. Linear layers are passed over: inside attention their channels mean several things.
    """
    names = [name for name in outputs if not isinstance(model.get_submodule(name), nn.Linear)]
    names = names or list(outputs)
    for name in reversed(names):  # one at a time: no more is kept than one
        (slope,) = torch.autograd.grad(
            margin, [outputs[name]], retain_graph=True, allow_unused=True
        )
        # Of tokens the last is a patch's: those of classes come first.
        if slope is not None and bool((slope[:, -1] if slope.ndim == 3 else slope).any()):
            return name
    return names[-1]


def _heat(output: Tensor, margin: Tensor, size: tuple[int, int]) -> Tensor:
    (slope,) = torch.autograd.grad(margin, [output], retain_graph=True, allow_unused=True)
    maps = maps_of(output.detach(), size)
    slopes = None if slope is None else maps_of(slope, size)
    if maps is None or slopes is None:
        return torch.zeros(size)
    heat = (slopes * maps).float().sum(dim=1, keepdim=True).relu()
    heat = F.interpolate(heat, size=size, mode="bilinear", align_corners=False)[0, 0].cpu()
    return heat / heat.max().clamp(min=torch.finfo(heat.dtype).tiny)


def _read(output: Tensor, size: tuple[int, int]) -> Tensor:
    maps = maps_of(output.detach(), size)
    assert maps is not None  # these are the outputs that have some
    return maps[0].float().cpu()
