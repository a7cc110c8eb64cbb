"""RandAugment and TrivialAugment on whole batches: samples are grouped by the drawn operation.

Which operation a sample gets, how strong and in which direction, is drawn for the sample alone.
Sources: Cubuk et al. 2019, "RandAugment"; Mueller and Hutter 2021, "TrivialAugment", table 1
(the wide space). The numbers are those of torchvision; strengths are not rounded to steps, what
moves in at an edge repeats it, and pixels are rounded to 256 values only if the operation is
about them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchloupe.data.augmentation import colour
from torchloupe.data.augmentation.geometry import warp

POLICIES = ("randaugment", "trivialaugment")
DRAWS_EACH = 3  # of each operation of a sample: which, how strong, in which direction
MOST_OPERATIONS = 4

Draws = NDArray[np.floating[Any]]  # [DRAWS_EACH, B] in [0, 1)
Numbers = NDArray[np.floating[Any]]  # [B]
Change = Callable[[Tensor, Numbers], Tensor]

_MOVES = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
_TONES = ("brightness", "contrast", "saturation")
_PLAIN: dict[str, Change] = {
    "sharpness": colour.sharpen,
    "posterize": colour.posterize,
    "solarize": colour.solarize,
    "autocontrast": lambda pixels, _: colour.stretch_contrast(pixels),
    "equalize": lambda pixels, _: colour.equalize(pixels),
}
OPERATIONS = ("identity", *_MOVES, *_TONES, *_PLAIN)


def operations_for(channels: int) -> tuple[str, ...]:
    """The operations that do something to images of so many channels."""
    return tuple(name for name in OPERATIONS if channels == 3 or name != "saturation")


def apply_policy(pixels: Tensor, policy: str, strength: float, draws: Draws) -> Tensor:
    """Pixels [B, C, H, W] in 0..1, each changed by one operation; the input is not written to.

    `strength` in 0..1 is that of RandAugment; TrivialAugment draws one for each sample.
    """
    names = np.array(operations_for(pixels.shape[1]))
    chosen = names[np.floor(draws[0] * len(names)).astype(np.int64)]
    is_wide = policy == "trivialaugment"
    level = draws[1] if is_wide else np.full_like(draws[1], strength)
    signed = np.where(draws[2] < 0.5, -level, level)
    factor = 1 + signed * (0.99 if is_wide else 0.9)
    values = {
        "sharpness": factor,
        "posterize": 8 - np.rint(level * (6 if is_wide else 4)),
        "solarize": 1 - level,
    }
    changed = pixels.clone()
    for group in (_MOVES, _TONES, *((name,) for name in _PLAIN)):
        rows = np.flatnonzero(np.isin(chosen, group))
        if not len(rows):
            continue
        where = torch.from_numpy(rows).to(pixels.device, non_blocking=True)
        some = pixels.index_select(0, where)
        if group == _MOVES:
            some = _move(some, chosen[rows], signed[rows], is_wide)
        elif group == _TONES:
            tones = (np.where(chosen[rows] == name, factor[rows], 1.0) for name in _TONES)
            some = colour.jitter(some, *tones)
        else:
            some = _PLAIN[group[0]](some, values.get(group[0], level)[rows])
        changed.index_copy_(0, where, some)
    return changed


def _move(pixels: Tensor, names: NDArray[np.str_], level: Numbers, is_wide: bool) -> Tensor:
    """Sheared, shifted or turned about the middle, each as `names` [B] says."""
    height, width = pixels.shape[2:]
    shear = np.where(np.char.startswith(names, "shear"), level * (0.99 if is_wide else 0.3), 0.0)
    turn = np.where(names == "rotate", np.deg2rad(level * (135 if is_wide else 30)), 0.0)
    most = (min(32, height / 2), min(32, width / 2)) if is_wide else (0.45 * height, 0.45 * width)
    cos, sin = np.cos(turn), np.sin(turn)
    ratio = height / width
    to_x = [
        cos,
        (np.where(names == "shear_x", shear, 0.0) - sin) * ratio,
        np.where(names == "translate_x", -2 * level * most[1] / width, 0.0),
    ]
    to_y = [
        (np.where(names == "shear_y", shear, 0.0) + sin) / ratio,
        cos,
        np.where(names == "translate_y", -2 * level * most[0] / height, 0.0),
    ]
    maps = np.stack([np.stack(to_x, axis=-1), np.stack(to_y, axis=-1)], axis=1)
    return warp(pixels, maps)
