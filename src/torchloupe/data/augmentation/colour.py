"""Colour augmentation of images [B, C, H, W] of floats in 0..1, with parameters per image.

Uses only single additions and multiplications of whole batches, and sums of integers, so that an
image gets the same bits in any batch. Fast where the channels are
planes (contiguous): in channels_last memory the loops over three channels cost ten times more.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow and torchvision

Numbers = NDArray[np.floating[Any]]  # [B]


def per_image(numbers: Numbers, like: Tensor) -> Tensor:
    """A number for each image [B] as a tensor that multiplies images: [B, 1, 1, 1]."""
    made = torch.from_numpy(numbers.astype(np.float32)).to(like.device, non_blocking=True)
    return made[:, None, None, None]


def grey_of(pixels: Tensor) -> Tensor:
    """How bright each pixel is [B, 1, H, W]; of other than three channels, their mean."""
    channels = pixels.shape[1]
    if channels == 1:
        return pixels
    weights = GREY if channels == 3 else (1 / channels,) * channels
    grey = pixels[:, :1] * weights[0]
    for channel in range(1, channels):
        grey += pixels[:, channel : channel + 1] * weights[channel]
    return grey


def jitter(pixels: Tensor, brightness: Numbers, contrast: Numbers, saturation: Numbers) -> Tensor:
    """Brightness, contrast and saturation of each image times its factors; 1 changes nothing.

    As torchvision's adjust_brightness, adjust_contrast and adjust_saturation in this order, but
    cut off at 0 and 1 once, at the end. Written as `a * pixel + b * grey + c`.
    """
    both = brightness * contrast
    changed = pixels * per_image(both * saturation, pixels)
    grey = None if (contrast == 1).all() and (saturation == 1).all() else grey_of(pixels)
    if grey is not None and (saturation != 1).any():
        changed += grey * per_image(both * (1 - saturation), pixels)
    if grey is not None and (contrast != 1).any():
        changed += mean_of(grey) * per_image(brightness * (1 - contrast), pixels)
    return changed.clamp_(0, 1)


def turn_hue(pixels: Tensor, share: Numbers) -> Tensor:
    """Hue [B, 3, H, W] rotated by a fraction of a full turn; grey stays grey.

    A rotation of the colour cube (Rodrigues' formula): cheaper than going through HSV,
    it takes three multiplications of whole batches.
    """
    angle = 2 * np.pi * share
    cos, sin = np.cos(angle), np.sin(angle) / np.sqrt(3)
    rest = (1 - cos) / 3
    turned = pixels * per_image(cos + rest, pixels)
    turned += pixels.roll(-1, 1) * per_image(rest - sin, pixels)
    turned += pixels.roll(1, 1) * per_image(rest + sin, pixels)
    return turned.clamp_(0, 1)


def mean_of(grey: Tensor) -> Tensor:
    """The mean of each image [B, 1, 1, 1], of values in 255 steps.

    Whole numbers below 2^53 add up to the same in every order, so the sum is exact.
    """
    steps = (grey * 255).round_().sum(dim=(1, 2, 3), keepdim=True, dtype=torch.float64)
    return (steps / (255 * grey[0].numel())).to(grey.dtype)


def sharpen(pixels: Tensor, factor: Numbers) -> Tensor:
    """A blend of the smoothed image (0) and the image (1), or beyond; the border stays."""
    if min(pixels.shape[2:]) < 3:
        return pixels
    rows = pixels[:, :, :-2] + pixels[:, :, 1:-1] + pixels[:, :, 2:]
    smooth = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    inner = pixels[:, :, 1:-1, 1:-1]
    smooth = (smooth + inner * 4) / 13
    changed = pixels.clone()
    changed[:, :, 1:-1, 1:-1] = smooth + (inner - smooth) * per_image(factor, pixels)
    return changed.clamp_(0, 1)


def posterize(pixels: Tensor, bits: Numbers) -> Tensor:
    """The highest `bits` [B] of the eight bits of every value."""
    step = per_image(2.0 ** (8 - bits), pixels)
    return ((pixels * 255).round_() / step).floor_() * step / 255


def solarize(pixels: Tensor, threshold: Numbers) -> Tensor:
    """Values at or above `threshold` [B] inverted."""
    return torch.where(pixels >= per_image(threshold, pixels), 1 - pixels, pixels)


def stretch_contrast(pixels: Tensor) -> Tensor:
    """Each channel stretched to 0..1; a constant channel stays."""
    low, high = pixels.amin(dim=(2, 3), keepdim=True), pixels.amax(dim=(2, 3), keepdim=True)
    is_flat = high == low
    low, span = torch.where(is_flat, 0.0, low), torch.where(is_flat, 1.0, high - low)
    return (pixels - low) / span


def equalize(pixels: Tensor) -> Tensor:
    """The histogram of each channel equalized, as Pillow does it."""
    count, channels, height, width = pixels.shape
    values = (pixels * 255).round_().to(torch.int64).reshape(count * channels, height * width)
    tally = torch.zeros(count * channels, 256, dtype=torch.int64, device=pixels.device)
    tally.scatter_add_(1, values, torch.ones_like(values))
    place = torch.arange(256, device=pixels.device)
    last = torch.where(tally > 0, place, 0).amax(dim=1, keepdim=True)
    step = (height * width - tally.gather(1, last)) // 255
    table = (tally.cumsum(1) - tally + step // 2) // step.clamp(min=1)
    table = torch.where(step > 0, table.clamp_(max=255), place)
    return (table.to(pixels.dtype) / 255).gather(1, values).reshape(pixels.shape)
