"""A classifier made of a pretrained backbone and a new linear layer.

The backbone computes features; the linear layer, the head, is fitted to them (model/head.py) and
may then be finetuned together with the backbone. model/backbones.py loads the weights.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from torchloupe.config.schema import INSTALLED
from torchloupe.errors import UsageError, printable
from torchloupe.model.catalog import ZOO, make_model, without_weights
from torchloupe.model.head import moderate

LITE = INSTALLED
LITE_TAPS = (2, 3, 4, 5)  # the blocks whose outputs are features too (docs/LOG.md)
INNER_TAPS = (2, 3, 4, 5, 6)  # those whose inner channels can be features, before the projection
DEPTH_DECAY = 0.7  # factor of the learning rate from each group of layers to the one before


class Transfer(nn.Module):
    """`body` gives features [B, D] of images; `head` turns them into logits [B, K].

    If `bounded`, it takes signed roots of features, limited to `low` and `high` [D]. With `views`
    2, in eval mode, logits are the mean over an image and its mirror image. The
    BatchNorms of the body stay in eval mode in training: statistics of small batches from a few
    hundred images are worse than those of the pretraining.
    """

    low: Tensor | None
    high: Tensor | None

    def __init__(
        self,
        body: nn.Module,
        features: int,
        classes: int,
        views: int = 1,
        *,
        bounded: bool = False,
    ) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(features, classes)
        self.views = views
        widest = torch.full((features,), torch.finfo(torch.float32).max)
        self.register_buffer("low", -widest if bounded else None)
        self.register_buffer("high", widest if bounded else None)

    def forward(self, images: Tensor) -> Tensor:
        logits = self._judge(images)
        if self.views < 2 or self.training:
            return logits
        return (logits + self._judge(images.flip(3))) / 2

    def _judge(self, images: Tensor) -> Tensor:
        features = self.body(images)
        if self.low is not None and self.high is not None:
            features = moderate(features, self.low, self.high)
        logits: Tensor = self.head(features)
        return logits

    def train(self, mode: bool = True) -> "Transfer":
        super().train(mode)
        for module in self.body.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def rates(self) -> dict[str, float]:
        """The factor of the learning rate for each parameter, by name: smaller for deeper layers.

        Source: Howard and Ruder 2018, "Universal language model fine-tuning", section 3.2
        (discriminative fine-tuning).
        """
        groups = list(dict.fromkeys(_group(name) for name, _ in self.body.named_parameters()))
        shares = {group: DEPTH_DECAY ** (len(groups) - n) for n, group in enumerate(groups)}
        own = {f"body.{name}": shares[_group(name)] for name, _ in self.body.named_parameters()}
        return {**own, "head.weight": 1.0, "head.bias": 1.0}


class LiteBody(nn.Module):
    """timm's EfficientNet-Lite without its last layer; its features come from five depths.

    Global averages after the blocks LITE_TAPS and at the end, each scaled to unit length: the
    last blocks are specific to ImageNet's classes, earlier ones are more general. With `inner`,
    those of the channels before the last projection of INNER_TAPS too, three times as many.
    `parts` are the sizes of these groups; the last is the deepest.
    """

    def __init__(self, network: Any, *, inner: bool = False) -> None:
        super().__init__()
        self.conv_stem: nn.Module = network.conv_stem
        self.bn1: nn.Module = network.bn1
        self.blocks: nn.Sequential = network.blocks
        self.conv_head: nn.Module = network.conv_head
        self.deepest: int = network.num_features  # how many of the features, the last, are deepest
        self.bn2: nn.Module = network.bn2
        self.opened = INNER_TAPS if inner else ()
        parts = [self.blocks[number][-1].conv_pwl.out_channels for number in LITE_TAPS]
        for number in self.opened:
            self.blocks[number][-1] = OpenBlock(self.blocks[number][-1])
            parts.append(self.blocks[number][-1].conv_pwl.in_channels)
        self.parts: tuple[int, ...] = (*parts, self.deepest)

    def forward(self, images: Tensor) -> Tensor:
        x = self.bn1(self.conv_stem(images))
        parts, opened = [], []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self.opened:
                x, inner = x
                opened.append(inner)
            if number in LITE_TAPS:
                parts.append(x.mean(dim=(2, 3)))
        deepest = self.bn2(self.conv_head(x)).mean(dim=(2, 3))
        return torch.cat([F.normalize(part) for part in (*parts, *opened, deepest)], dim=1)


class OpenBlock(nn.Module):
    """timm's inverted residual block; it gives the averages of its inner channels [B, E] too.

    For blocks without squeeze-and-excitation, as EfficientNet-Lite has them. Layers keep their
    names, and with them weights their place.
    """

    conv_pw: nn.Module
    bn1: nn.Module
    conv_dw: nn.Module
    bn2: nn.Module
    conv_pwl: nn.Module
    bn3: nn.Module

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.has_skip = bool(block.has_skip)
        for name, layer in block.named_children():
            if not isinstance(layer, nn.Identity):
                self.add_module(name, layer)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inner = self.bn2(self.conv_dw(self.bn1(self.conv_pw(x))))
        out = self.bn3(self.conv_pwl(inner))
        return out + x if self.has_skip else out, inner.mean(dim=(2, 3))


class PlainBody(nn.Module):
    """A network without its last layer; its output [B, D] is scaled to unit length."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(images)
        return F.normalize(features.flatten(1))


def make_transfer(
    spec: Any,
    *,
    in_channels: int,
    classes: int,
    image_size: tuple[int, int],
    options: Mapping[str, Any] | None = None,
) -> Transfer:
    """The network `spec` (as `make_model` takes it) with a new head; its weights are random.

    `options.views` is Transfer's own, `inner` LiteBody's, whose head then is bounded; all else
    goes to the network.
    UsageError for one without a linear last layer.
    """
    own = without_weights(options or {})
    views, inner = own.pop("views", 1), own.pop("inner", False)
    if views not in (1, 2):
        raise UsageError(
            f"model.options.views is {printable(views)}; an image has 1 or 2 views",
            "2 adds the mirror image",
        )
    if inner not in (False, True) or (inner and spec != LITE):
        raise UsageError(
            f"model.options.inner is {printable(inner)}: true, for {LITE} only, makes features of "
            "inner channels too",
            "leave model.options.inner out",
        )
    network = make_model(
        spec, in_channels=in_channels, classes=classes, image_size=image_size, options=own
    )
    body = LiteBody(network, inner=bool(inner)) if spec == LITE else make_body(network)
    features = _count_features(body, in_channels, image_size)
    return Transfer(body, features, classes, int(views), bounded=bool(inner))


def is_from_this_package(model: nn.Module) -> bool:
    """Whether this is a network of the zoo, or has the backbone installed with torchloupe."""
    return type(model) in ZOO.values() or (type(model) is Transfer and type(model.body) is LiteBody)


def make_body(network: nn.Module, spec: Any = "") -> nn.Module:
    """`network` without its last linear layer, as a module that returns features [B, D]."""
    if spec == LITE:
        return LiteBody(network)
    linear = [path for path, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise UsageError(
            f"{type(network).__name__} has no linear last layer that could be replaced",
            "train it as it is: --strategy scratch",
        )
    parent, _, name = linear[-1].rpartition(".")
    setattr(network.get_submodule(parent), name, nn.Identity())
    return PlainBody(network)


def _count_features(body: nn.Module, in_channels: int, image_size: tuple[int, int]) -> int:
    """D, the number of features for one image."""
    was_training = body.training
    body.eval()
    with torch.no_grad():
        found = body(torch.zeros(1, in_channels, *image_size))
    body.train(was_training)
    return int(found.shape[1])


def _group(name: str) -> str:
    """The group of layers that share a rate: a numbered block of a stack, else a child."""
    parts = name.removeprefix("network.").split(".")
    numbered = [n for n, part in enumerate(parts[:-1]) if part.isdigit()]
    return ".".join(parts[: numbered[0] + 1]) if numbered else parts[0]
