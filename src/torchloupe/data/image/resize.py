"""An upright image brought to the size the model sees: cropped, padded or stretched, resampled."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

KERNELS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def fit_image(
    image: Image.Image,
    size: tuple[int, int],
    fit: str = "crop",
    kernel: str = "bilinear",
    antialias: bool = True,
) -> NDArray[Any]:
    """An image of mode L, RGB or F as an array [H, W, C] of `size`.

    crop: the largest centred part with the wanted proportions; pad: the whole image, centred on
    the median colour of its border; stretch: the whole image, proportions given up.
    """
    height, width = size
    if (image.height, image.width) == size:
        return to_array(image)
    if fit == "pad":
        scale = min(width / image.width, height / image.height)
        inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        return _pad(to_array(_resize(image, inner, None, kernel, antialias)), size)
    box = None
    if fit == "crop":
        scale = min(image.width / width, image.height / height)
        left, top = (image.width - width * scale) / 2, (image.height - height * scale) / 2
        right, bottom = image.width - left, image.height - top
        box = (max(left, 0.0), max(top, 0.0), right, bottom)
    return to_array(_resize(image, (width, height), box, kernel, antialias))


def _resize(
    image: Image.Image,
    size: tuple[int, int],
    box: tuple[float, float, float, float] | None,
    kernel: str,
    antialias: bool,
) -> Image.Image:
    """Resampled to `size` (width, height); without antialiasing by interpolation alone."""
    if antialias or kernel in ("nearest", "lanczos"):
        return image.resize(size, KERNELS[kernel], box=box)
    corners = box or (0.0, 0.0, float(image.width), float(image.height))
    return image.transform(size, Image.Transform.EXTENT, corners, KERNELS[kernel])


def _pad(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """`pixels` in the middle of an array of `size`, on the median colour of their border."""
    height, width, channels = pixels.shape
    rows = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    border = np.median(np.concatenate(rows), axis=0)
    padded = np.empty((*size, channels), dtype=pixels.dtype)
    padded[:] = np.rint(border) if pixels.dtype == np.uint8 else border
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    padded[top : top + height, left : left + width] = pixels
    return padded


def to_array(image: Image.Image) -> NDArray[Any]:
    """The pixels of an image as an array [H, W, C], read-only and not copied."""
    pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
