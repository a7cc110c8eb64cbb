"""Arrays that are handed over as images, brought to the shape and size that a model takes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchloupe.data.image.encoded import ImageError
from torchloupe.data.image.modes import to_mode
from torchloupe.data.image.resize import fit_image


def check_array(image: NDArray[Any], channels: int, is_float: bool) -> NDArray[Any]:
    """An array [H, W], [H, W, C] or [C, H, W] as [H, W, C] uint8; where `is_float` float32, or
    whole numbers as they are.

    `channels` tells where C is. ImageError for an array that is not one such image.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[:, :, None]
    last_fits = image.ndim == 3 and image.shape[2] in (1, 3, 4, channels)
    if image.ndim == 3 and not last_fits and image.shape[0] in (1, 3, 4, channels):
        image = image.transpose(1, 2, 0)
    elif not last_fits:
        raise ImageError(f"an array of shape {list(image.shape)} is not one image")
    if 0 in image.shape:
        raise ImageError(f"an image of shape {list(image.shape)} has no pixels")
    if image.dtype == np.bool_:
        image = image.astype(np.uint8) * np.uint8(255)
    if image.dtype == np.uint8:
        return image
    if is_float and image.dtype.kind in "fiu":
        if not np.isfinite(image).all():
            raise ImageError("pixels that are not finite numbers")
        return image.astype(np.float32, copy=False) if image.dtype.kind == "f" else image
    if image.dtype.kind in "iu" and image.min() >= 0 and image.max() <= 255:
        return image.astype(np.uint8)
    raise ImageError(f"pixels of type {image.dtype}; the model takes whole numbers 0 to 255")


def fit_array(
    image: NDArray[Any],
    size: tuple[int, int],
    channels: int,
    *,
    is_picture: bool,
    fit: str,
    kernel: str,
    antialias: bool,
) -> NDArray[Any]:
    """`image` [H, W, C] as [*size, channels].

    Where `is_picture`, uint8 of 1, 3 or 4 channels becomes grey or RGB as image files do.
    """
    if image.shape == (*size, channels):
        return image
    if image.dtype == np.uint8 and is_picture and image.shape[2] in (1, 3, 4):
        plain = image[:, :, 0] if image.shape[2] == 1 else image
        picture = to_mode(Image.fromarray(np.ascontiguousarray(plain)), channels)
        return fit_image(picture, size, fit, kernel, antialias)
    if image.shape[2] != channels:
        raise ImageError(f"{image.shape[2]} channels where the model takes {channels}")
    planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(image, 2, 0)]
    return np.concatenate([fit_image(p, size, fit, kernel, antialias) for p in planes], axis=2)
