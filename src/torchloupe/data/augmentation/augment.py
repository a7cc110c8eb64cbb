"""Augmentation of training images: drawn per sample, applied to the whole batch on its device.

Every draw is a function of (seed, epoch, key of the sample), so that a sample is augmented alike in
any batch, thread or resumed run. One exception: mixup and cutmix pair a sample with the next one in
the batch (the mixing fraction is again a function of the sample). This module draws; geometry,
colour, policies and mixing apply.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchloupe.config.schema import AugmentConfig
from torchloupe.data.augmentation.colour import jitter, turn_hue
from torchloupe.data.augmentation.geometry import erase, shift, warp
from torchloupe.data.augmentation.mixing import draw_beta, mix_pairs, paste_pairs
from torchloupe.data.augmentation.policies import (
    DRAWS_EACH,
    MOST_OPERATIONS,
    POLICIES,
    apply_policy,
)
from torchloupe.errors import UsageError
from torchloupe.system.counter_rng import Keys, hash_parts

# The draws of a sample, by use. Changing one of these numbers changes every run ever made.
_SHIFT_Y, _SHIFT_X, _FLIP, _ROTATE, _SCALE, _ERASE_Y, _ERASE_X = range(7)
_CROP_AREA, _CROP_RATIO, _CROP_Y, _CROP_X, _MIX_RADIUS, _MIX_ANGLE = range(7, 13)
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(13, 17)
_CUT_RADIUS, _CUT_ANGLE, _CUT_Y, _CUT_X, _MIX_OR_CUT = range(17, 22)
_POLICY = 22  # and on: three for each operation
_DRAWS = np.arange(_POLICY + DRAWS_EACH * MOST_OPERATIONS, dtype=np.uint64)
_CROP_RATIOS = (3 / 4, 4 / 3)  # of a resized crop: width to height, uniform in the logarithm

Draws = NDArray[np.floating[Any]]  # [draws, B] in [0, 1)
Limits = tuple[Tensor, Tensor]  # what black and white [C] are in the images of a batch


@dataclass(frozen=True)
class Augment(AugmentConfig):
    """Augmentation of whole batches: the settings of `augment.`, all off by default."""

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:  # the other fields already have what "auto" chose
            object.__setattr__(self, "policy", "none")

    @classmethod
    def from_settings(cls, settings: AugmentConfig) -> "Augment":
        """The augmentation that the `augment.` settings describe."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})

    @property
    def is_off(self) -> bool:
        """Whether images and labels come out as they went in."""
        return not (self.moves or self.changes_pixels or self.erase or self.neighbours)

    @property
    def moves(self) -> bool:
        """Whether anything is shifted, turned, zoomed, cropped or mirrored."""
        sizes = self.translate, self.rotate_degrees, self.scale, self.resized_crop
        return self.flip or any(sizes)

    @property
    def jitters(self) -> bool:
        """Whether colours are changed besides those of a policy."""
        return any((self.brightness, self.contrast, self.saturation, self.hue))

    @property
    def changes_pixels(self) -> bool:
        """Whether it needs the limits, the values of black and white."""
        return self.policy != "none" or self.jitters

    @property
    def neighbours(self) -> int:
        """How many of the samples that follow it in the batch a sample is mixed with."""
        return 1 if self.mixup or self.cutmix else 0

    def refuse_unfit(self, channels: int, has_limits: bool = True) -> None:
        """Raises UsageError if images with this number of channels can't be augmented so.

        Colour changes need the limits: the values of black and white.
        """
        for name in ("saturation", "hue"):
            if getattr(self, name) and channels != 3:
                raise UsageError(
                    f"augment.{name} is for colour images, and these have "
                    f"{channels} channel{'s' * (channels != 1)}",
                    "leave it out; brightness and contrast change grey images",
                )
        if self.changes_pixels and not has_limits:
            raise UsageError(
                "the Dataset gives floats of its own scale, and colours can't be changed without "
                "knowing what black and white are in them",
                "change colours in its transforms, or let it give uint8 or PIL images",
            )

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        keys: Keys,
        *,
        seed: int,
        epoch: int,
        classes: int,
        limits: Limits | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Changed images [B, C, H, W] and labels ([B] int64, or [B, classes] float where mixed).

        `images` are normalised float32 on any device and are not written to; when all is off,
        they and `labels` are returned themselves. `keys` [B] are those of the samples. `limits`
        are needed where colours change; without them black is 0 and white is 1.
        """
        if self.is_off or not len(keys):
            return images, labels
        draws = self._draw(seed, epoch, keys)
        changed = images
        if self.rotate_degrees or self.scale or self.resized_crop:
            changed = warp(changed, self._affine(draws, *images.shape[2:]), self.padding)
        elif self.translate or self.flip:
            moves = self._shifts(draws, *images.shape[2:])
            changed = shift(changed, *moves, self._flips(draws), self.padding)
        if self.changes_pixels:
            changed = self._change_pixels(changed, draws, limits)
        if self.erase:
            height, width = images.shape[2:]
            side = max(1, round(self.erase * min(height, width)))
            top = np.floor(draws[_ERASE_Y] * height).astype(np.int32) - side // 2
            left = np.floor(draws[_ERASE_X] * width).astype(np.int32) - side // 2
            changed = erase(changed.clone() if changed is images else changed, top, left, side)
        return self._mix(changed, labels, draws, classes)

    def _draw(self, seed: int, epoch: int, keys: Keys) -> Draws:
        """All random numbers that the settings may need."""
        is_early = not (self.changes_pixels or self.cutmix)
        wanted = _DRAWS[:_BRIGHTNESS] if is_early else _DRAWS
        return np.asarray(
            (hash_parts(seed, epoch, wanted[:, None], keys) >> np.uint64(11)) * 2.0**-53
        )

    def _change_pixels(self, images: Tensor, draws: Draws, limits: Limits | None) -> Tensor:
        """The policy, then brightness, contrast, saturation and hue, on pixels in 0..1."""
        low, high = (torch.zeros(1), torch.ones(1)) if limits is None else limits
        low, high = (end.to(images.device)[:, None, None] for end in (low, high))
        span = high - low
        pixels = images.contiguous().sub(low).div_(span).clamp_(0, 1)  # as planes: see colour
        if self.policy != "none":
            for number in range(self.policy_count if self.policy == "randaugment" else 1):
                first = _POLICY + DRAWS_EACH * number
                own = draws[first : first + DRAWS_EACH]
                pixels = apply_policy(pixels, self.policy, self.policy_strength, own)
        if self.hue:
            pixels = turn_hue(pixels, (2 * draws[_HUE] - 1) * self.hue)
        if self.brightness or self.contrast or self.saturation:
            most = self.brightness, self.contrast, self.saturation
            own = 2 * draws[[_BRIGHTNESS, _CONTRAST, _SATURATION]] - 1
            pixels = jitter(pixels, *(1 + own * np.array(most)[:, None]))
        pixels = pixels.mul_(span).add_(low)
        return pixels.contiguous(memory_format=torch.channels_last)

    def _mix(
        self, images: Tensor, labels: Tensor, draws: Draws, classes: int
    ) -> tuple[Tensor, Tensor]:
        """Mixup, cutmix, or for each sample one of the two."""
        mixed = images, labels
        if self.mixup:
            share = draw_beta(self.mixup, draws[_MIX_RADIUS], draws[_MIX_ANGLE])
            mixed = mix_pairs(images, labels, share, classes)
        if not self.cutmix:
            return mixed
        share = draw_beta(self.cutmix, draws[_CUT_RADIUS], draws[_CUT_ANGLE])
        cut = paste_pairs(images, labels, share, (draws[_CUT_Y], draws[_CUT_X]), classes)
        if not self.mixup:
            return cut
        rows = torch.from_numpy(np.flatnonzero(draws[_MIX_OR_CUT] < 0.5))
        rows = rows.to(images.device, non_blocking=True)
        for kept, other in zip(mixed, cut, strict=True):
            kept.index_copy_(0, rows, other.index_select(0, rows))
        return mixed

    def _flips(self, draws: Draws) -> NDArray[np.bool_]:
        return np.asarray((draws[_FLIP] < 0.5) & self.flip)

    def _shifts(
        self, draws: Draws, height: int, width: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Rows and columns [B] by which each image moves down and right."""
        most = round(self.translate * height), round(self.translate * width)
        down = np.floor(draws[_SHIFT_Y] * (2 * most[0] + 1)) - most[0]
        right = np.floor(draws[_SHIFT_X] * (2 * most[1] + 1)) - most[1]
        return down.astype(np.int32), right.astype(np.int32)

    def _affine(self, draws: Draws, height: int, width: int) -> NDArray[np.float64]:
        """Affine maps [B, 2, 3] from positions in the result to those in the image, in -1..1."""
        angle = np.deg2rad((2 * draws[_ROTATE] - 1) * self.rotate_degrees)
        zoom = 1 / (1 + (2 * draws[_SCALE] - 1) * self.scale)
        down, right = self._shifts(draws, height, width)
        centre_x, centre_y = -2 * right / width, -2 * down / height
        share_x = share_y = np.ones_like(zoom)
        if self.resized_crop:
            area = self.resized_crop + draws[_CROP_AREA] * (1 - self.resized_crop)
            low, high = np.log(_CROP_RATIOS)
            ratio = np.exp(low + draws[_CROP_RATIO] * (high - low))
            share_x = np.minimum(np.sqrt(area * ratio), 1)
            share_y = np.minimum(np.sqrt(area / ratio), 1)
            centre_x = centre_x + (2 * draws[_CROP_X] - 1) * (1 - share_x)
            centre_y = centre_y + (2 * draws[_CROP_Y] - 1) * (1 - share_y)
        mirror = np.where(self._flips(draws), -1.0, 1.0)
        cos, sin = np.cos(angle) * zoom, np.sin(angle) * zoom
        to_x = [cos * share_x * mirror, -sin * share_y * height / width, centre_x]
        to_y = [sin * share_x * mirror * width / height, cos * share_y, centre_y]
        return np.stack([np.stack(to_x, axis=-1), np.stack(to_y, axis=-1)], axis=1)
