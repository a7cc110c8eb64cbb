"""Whether weights look as an initialisation left them: drawn independently of each other.

Training leaves filters of unequal size and weights outside the bounds of the draw.
"""

import math

import torch
from torch import Tensor, nn

FEWEST = 256  # numbers, below which nothing is said
_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)


def weighted_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Linear and convolution layers with a weight of their own, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _LAYERS) and isinstance(module._parameters.get("weight"), Tensor)
    }


def looks_random(weight: Tensor) -> bool | None:
    """Whether a weight [out, ...] looks freshly drawn; None where too few numbers can tell.

    torch's own draw is uniform within 1/sqrt(fan_in) and any training leaves these bounds. For
    other draws, the variation of row and column energies is compared with that of independent
    numbers of the same kurtosis.
    """
    rows = weight.detach().float().flatten(1).cpu()
    if rows.numel() < FEWEST or min(rows.shape) < 4 or not bool(torch.isfinite(rows).all()):
        return None
    spread = float(rows.std())
    if spread == 0:
        return None
    kurtosis = float(((rows - rows.mean()) ** 4).mean()) / spread**4
    if kurtosis < 2.0:  # uniform: 1.8
        bound = 1 / math.sqrt(rows.shape[1])
        is_default = abs(spread * math.sqrt(3) / bound - 1) < 0.15
        if is_default:
            return bool(float(rows.abs().max()) <= bound * 1.0001)
    if not 1.5 < kurtosis < 3.8 or abs(float(rows.mean())) > 5 * spread / math.sqrt(rows.numel()):
        return False
    return all(_varies_as_drawn(each, kurtosis) for each in (rows, rows.T))


def _varies_as_drawn(rows: Tensor, kurtosis: float) -> bool:
    energies = (rows**2).mean(dim=1)
    expected = (kurtosis - 1) / rows.shape[1]
    seen = float(energies.var()) / float(energies.mean()) ** 2
    return seen < expected * (2 + 6 / math.sqrt(len(rows)))
