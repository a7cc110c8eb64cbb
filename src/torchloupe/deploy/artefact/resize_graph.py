"""Pillow's resize as a module of plain tensor operations, to the last bit, for an exported graph.

Pillow resamples 8-bit images in two passes, one for each axis. Weights are rounded to multiples of
2**-22, each pass rounds to whole numbers. Both passes are matrix products here, in float64, where
all those integers are exact in any order of summation. Height and width may be dynamic.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

SUPPORT = {"bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}  # pixels, of each kernel
_WEIGHT_UNIT = 2.0**22
_FAR = 1e9  # more than any pixel: sorted to the end
F64 = torch.float64


class ExactResize(nn.Module):
    """uint8 images [B, H, W, C] of any size to [B, C, *size], as `fit_image` makes them.

    Values are whole numbers 0..255 in float32. `vertical_first` says whether tall images are
    resized vertically first, as Pillow does since version 13.
    """

    def __init__(self, size: tuple[int, int], fit: str, kernel: str, vertical_first: bool) -> None:
        super().__init__()
        self.size = size
        self.fit = fit
        self.kernel = kernel
        self.vertical_first = vertical_first

    def forward(self, images: Tensor) -> Tensor:
        """Images of the size that the model takes pass through unchanged."""
        height, width = self.size
        found = [torch.scalar_tensor(n, dtype=F64) for n in images.shape[1:3]]
        across = self._axis(found[1], found, 1, images.shape[2])
        down = self._axis(found[0], found, 0, images.shape[1])
        inner = self._inner(found) if self.fit == "pad" else [_number(height), _number(width)]
        is_same = (found[0] == height) & (found[1] == width)
        is_tall = (found[0] > inner[0]) & (found[0] - inner[0] > 2 * (found[1] - inner[1]))

        def keep(pixels: Tensor, down: Tensor, across: Tensor) -> Tensor:  # noqa: ARG001
            return _take(_take(pixels, 2, height), 3, width).float()

        def rows_first(pixels: Tensor, down: Tensor, across: Tensor) -> Tensor:
            narrow = _round(torch.matmul(pixels.double(), across.transpose(0, 1)))
            return _round(torch.matmul(down, narrow)).float()

        def columns_first(pixels: Tensor, down: Tensor, across: Tensor) -> Tensor:
            low = _round(torch.matmul(down, pixels.double()))
            return _round(torch.matmul(low, across.transpose(0, 1))).float()

        def resize(pixels: Tensor, down: Tensor, across: Tensor) -> Tensor:
            if not self.vertical_first:
                return rows_first(pixels, down, across)
            return _either(is_tall, columns_first, rows_first, pixels, down, across)

        parts = (images.permute(0, 3, 1, 2), down, across)
        made = _either(is_same, keep, resize, *parts)
        return self._pad(made, inner) if self.fit == "pad" else made

    def _inner(self, found: list[Tensor]) -> list[Tensor]:
        """Height and width of the resized image inside of its padding."""
        scale = torch.minimum(self.size[1] / found[1], self.size[0] / found[0])
        return [torch.round(side * scale).clamp(min=1) for side in found]

    def _start(self, inner: Tensor, axis: int) -> Tensor:
        """The first row or column of the image inside of its padding."""
        return torch.floor((self.size[axis] - inner) / 2)

    def _axis(self, length: Tensor, found: list[Tensor], axis: int, count: int) -> Tensor:
        """The weights [size of `axis`, pixels] of a pass, in units of 2**-22."""
        places = torch.arange(self.size[axis], dtype=F64)
        out: Tensor = _number(self.size[axis])
        start, end = torch.zeros_like(length), length
        if self.fit == "pad":
            out = self._inner(found)[axis]
            places = places - self._start(out, axis)
        elif self.fit == "crop":
            scale = torch.minimum(found[1] / self.size[1], found[0] / self.size[0])
            margin = (length - self.size[axis] * scale) / 2
            start, end = margin.clamp(min=0), length - margin
        start, end = start.float(), end.float()  # Pillow's box has single precision
        step = (end - start).double() / out
        if self.kernel == "nearest":
            return self._lookup(places, start.double(), step, length, out, count)
        return self._weights(places, start.double(), step, length, count)

    def _weights(
        self, places: Tensor, start: Tensor, step: Tensor, length: Tensor, count: int
    ) -> Tensor:
        wide = step.clamp(min=1.0)
        reach = SUPPORT[self.kernel] * wide
        centre = start + (places + 0.5) * step
        first = torch.trunc(centre - reach + 0.5).clamp(min=0)[:, None]
        last = torch.minimum(torch.trunc(centre + reach + 0.5), length)[:, None]
        pixels = torch.arange(count, dtype=F64)[None]
        weights = _kernel(self.kernel, (pixels - centre[:, None] + 0.5) * (1.0 / wide))
        inside = (pixels >= first) & (pixels < last)
        weights = torch.where(inside, weights, torch.zeros_like(weights))
        total = weights.sum(dim=1, keepdim=True)
        weights = weights / torch.where(total == 0, torch.ones_like(total), total) * _WEIGHT_UNIT
        return torch.trunc(torch.where(weights < 0, weights - 0.5, weights + 0.5))

    @staticmethod
    def _lookup(
        places: Tensor, start: Tensor, step: Tensor, length: Tensor, out: Tensor, count: int
    ) -> Tensor:
        """Weight one for the nearest pixel, found by repeated addition as Pillow does it."""
        steps = torch.where(places > 0, step, torch.zeros_like(places))
        at = torch.cumsum(torch.where(places == 0, start + step * 0.5, steps), dim=0)
        nearest = torch.minimum(torch.floor(at), length - 1)[:, None]
        inside = ((places >= 0) & (places < out))[:, None]
        pixels = torch.arange(count, dtype=F64)[None]
        return ((pixels == nearest) & inside).double() * _WEIGHT_UNIT

    def _pad(self, pixels: Tensor, inner: list[Tensor]) -> Tensor:
        """`pixels` outside of the inner image replaced by the median colour of its border."""
        height, width = self.size
        top, left = self._start(inner[0], 0), self._start(inner[1], 1)
        bottom, right = top + inner[0] - 1, left + inner[1] - 1
        rows, columns = torch.arange(height, dtype=F64), torch.arange(width, dtype=F64)
        in_rows = (rows >= top) & (rows <= bottom)
        in_columns = (columns >= left) & (columns <= right)

        def line(dim: int, place: Tensor, inside: Tensor) -> Tensor:
            found = pixels.index_select(dim, place.long().reshape(1)).flatten(2)
            return torch.where(inside, found, torch.full_like(found, _FAR))

        border = torch.cat(
            [
                *(line(2, place, in_columns) for place in (top, bottom)),
                *(line(3, place, in_rows) for place in (left, right)),
            ],
            dim=2,
        )
        ordered = torch.sort(border, dim=2).values
        middle = (inner[0] + inner[1]).long().reshape(1)  # half of the border's pixels
        pair = [ordered.index_select(2, middle - back) for back in (1, 0)]
        ground = torch.round((pair[0] + pair[1]) / 2)[..., None]
        return torch.where(in_rows[:, None] & in_columns[None], pixels, ground)


def _number(value: int) -> Tensor:
    return torch.scalar_tensor(value, dtype=F64)


def _take(pixels: Tensor, dim: int, count: int) -> Tensor:
    """The first `count` rows or columns, the last one repeated where there are fewer."""
    places = torch.arange(count).clamp(max=pixels.shape[dim] - 1)
    return pixels.index_select(dim, places)


def _either(
    condition: Tensor, one: Callable[..., Tensor], other: Callable[..., Tensor], *parts: Tensor
) -> Tensor:
    made: Tensor = torch.cond(condition, one, other, parts)
    return made


def _round(sums: Tensor) -> Tensor:
    """Sums in units of 2**-22 as whole numbers 0..255."""
    return torch.floor((sums + _WEIGHT_UNIT / 2) * (1 / _WEIGHT_UNIT)).clamp(0, 255)


def _kernel(name: str, distance: Tensor) -> Tensor:
    """The weight of a pixel at a distance, in the order of operations of Pillow's kernels."""
    x = distance.abs()
    nothing = torch.zeros_like(x)
    if name == "bilinear":
        return (1.0 - x).clamp(min=0)
    if name == "bicubic":  # Keys 1981, equation 4, a = -0.5
        near = ((-0.5 + 2.0) * x - (-0.5 + 3.0)) * x * x + 1
        far = (((x - 5) * x + 8) * x - 4) * -0.5
        return torch.where(x < 1, near, torch.where(x < 2, far, nothing))
    return torch.where(x < 3, _sinc(x) * _sinc(x / 3), nothing)


def _sinc(x: Tensor) -> Tensor:
    angle = x * math.pi
    safe = torch.where(angle == 0, torch.ones_like(angle), angle)
    return torch.where(angle == 0, torch.ones_like(angle), torch.sin(safe) / safe)


def resizes_tall_images_vertically_first() -> bool:
    """Whether the installed Pillow resizes a tall image vertically first (13 and later)."""
    noise = np.random.default_rng(0).integers(0, 2, (64, 16), dtype=np.uint8) * np.uint8(255)
    made = np.asarray(Image.fromarray(noise).resize((16 + 5, 9), Image.Resampling.BICUBIC))
    model = ExactResize((9, 21), "stretch", "bicubic", vertical_first=True)
    return bool((model(torch.from_numpy(noise[None, :, :, None]))[0, 0].numpy() == made).all())
