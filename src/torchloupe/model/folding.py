"""BatchNorms folded into the convolutions before them: the same function, fewer operations."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from torchloupe.lens.copies import deep_copy

CLOSE = 1e-3  # largest difference after folding, relative to the largest output


def fold_norms(network: nn.Module, images: Tensor) -> nn.Module:
    """A copy of `network` for eval mode without those BatchNorms that follow a convolution.

    Pairs are found by the order in which layers were made, and checked on `images`: where the
    outputs differ, an unfolded copy is returned. For inference only; it can't be trained.
    """
    plain = deep_copy(network, network).eval()
    folded = _fold(deep_copy(plain, plain))
    with torch.no_grad():
        wanted, got = plain(images), folded(images)
    scale = float(wanted.abs().max())
    return folded if float((wanted - got).abs().max()) <= CLOSE * max(scale, 1e-12) else plain


def _fold(module: nn.Module) -> nn.Module:
    children = list(module.named_children())
    for _, child in children:
        _fold(child)
    for (first, conv), (second, norm) in pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, _BatchNorm):
            if norm.running_mean is None or conv.out_channels != norm.num_features:
                continue
            setattr(module, first, fuse_conv_bn_eval(conv, norm))
            setattr(module, second, getattr(norm, "act", nn.Identity()))  # timm's norms have one
    return module
