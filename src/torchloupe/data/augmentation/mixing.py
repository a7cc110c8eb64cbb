"""Images and labels mixed in pairs: each with its neighbour, the next in the batch.

How much of the neighbour is taken, and from where, is drawn for the sample; which neighbour it
has is the one thing in augmentation that depends on the batch.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Draws = NDArray[np.floating[Any]]  # [B] in [0, 1)


def mix_pairs(images: Tensor, labels: Tensor, share: Draws, classes: int) -> tuple[Tensor, Tensor]:
    """Each image and label mixed with those of the next in the batch: `share` [B] of its own.

    Source: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", equation 1.
    """
    own = torch.from_numpy(share.astype(np.float32)).to(images.device, non_blocking=True)
    own_images = own[:, None, None, None].to(images.dtype)
    mixed = images * own_images + images.roll(-1, 0) * (1 - own_images)
    return mixed, _mix_labels(labels, own, classes)


def paste_pairs(
    images: Tensor, labels: Tensor, share: Draws, place: tuple[Draws, Draws], classes: int
) -> tuple[Tensor, Tensor]:
    """Each image with a rectangle of the next in the batch, and its label with the same share.

    The rectangle takes `1 - share` [B] of the area, around the `place` (down, across) [B] in 0..1,
    and is cut off at the border: labels are mixed by what is left of it.
    Source: Yun et al. 2019, "CutMix", equations 1 and 2.
    """
    count, channels, height, width = images.shape
    part = np.sqrt(1 - share) / 2
    edges = [
        np.clip(np.rint((place[axis] + sign * part) * side), 0, side)
        for axis, side in ((0, height), (1, width))
        for sign in (-1, 1)
    ]
    own = 1 - (edges[1] - edges[0]) * (edges[3] - edges[2]) / (height * width)
    numbers = torch.from_numpy(np.stack([*edges, own]).astype(np.float32))
    top, bottom, left, right, own_B = numbers.to(images.device, non_blocking=True)
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).repeat_interleave(channels)
    inside_rows = (rows >= top[:, None]) & (rows < bottom[:, None])
    inside_columns = (columns >= left[:, None]) & (columns < right[:, None])
    is_inside = inside_rows[:, :, None] & inside_columns[:, None, :]
    lines = images.permute(0, 2, 3, 1).reshape(count, height, width * channels)  # as in memory
    pasted = torch.where(is_inside, lines.roll(-1, 0), lines)
    pasted = pasted.view(count, height, width, channels).permute(0, 3, 1, 2)
    return pasted, _mix_labels(labels, own_B, classes)


def _mix_labels(labels: Tensor, own: Tensor, classes: int) -> Tensor:
    """Labels [B] or [B, K] mixed with those of the next: soft labels [B, K]."""
    if labels.ndim == 1:
        labels = F.one_hot(labels, classes)
    soft = labels.to(torch.float32)
    return soft * own[:, None] + soft.roll(-1, 0) * (1 - own[:, None])


def draw_beta(alpha: float, radius: NDArray[np.float64], angle: NDArray[np.float64]) -> Draws:
    """Numbers from Beta(alpha, alpha) out of two uniform ones each.

    Source: Devroye 1996, "Random variate generation in one line of code", section on symmetric
    beta variates (after Ulrich 1984); holds for every alpha > 0.
    """
    with np.errstate(divide="ignore", over="ignore"):
        ratio = (radius ** (-1 / alpha) - 1) * np.cos(2 * np.pi * angle) ** 2
        distance = 1 / np.sqrt(1 + 1 / ratio)
    return np.asarray(0.5 + np.where(angle < 0.5, 0.5, -0.5) * distance)
