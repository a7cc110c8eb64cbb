"""Numbers as colours: feature maps, heat maps over an image, and images of any kind as RGB."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]  # [H, W, 3]

# Dark to light in even steps of lightness, so that they can be read in grey too.
_PALETTES = {
    "maps": ("0f0c29", "2c2a6c", "265c8c", "1f8f8c", "4ebe6e", "f0e560"),
    "heat": ("260a42", "78166d", "c43454", "f06b2a", "fab83c", "fff8b2"),
}


def to_colours(values: NDArray[np.floating], palette: str = "maps") -> Pixels:
    """Values from 0 to 1 [H, W] as colours of the palette "maps" or "heat"."""
    steps = np.array([list(bytes.fromhex(colour)) for colour in _PALETTES[palette]], np.float64)
    places = np.nan_to_num(np.clip(values, 0, 1)) * (len(steps) - 1)
    whole = np.minimum(places.astype(np.int64), len(steps) - 2)
    share = (places - whole)[..., None]
    mixed = steps[whole] * (1 - share) + steps[whole + 1] * share
    return np.asarray(mixed.round(), dtype=np.uint8)


def to_unit(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Values scaled to 0..1; all 0 if they are equal."""
    finite = np.nan_to_num(np.asarray(values, dtype=np.float64))
    low, high = float(finite.min()), float(finite.max())
    return (finite - low) / (high - low) if high > low else np.zeros_like(finite)


def lay_over(image: Pixels, heat: NDArray[np.floating]) -> Pixels:
    """The image in grey with the heat map [H, W] over it, transparent where the heat is 0.

    A heat map of another size is resized to that of the image (bicubic).
    """
    if heat.shape != image.shape[:2]:
        smooth = Image.fromarray(heat.astype(np.float32), "F")
        size = (image.shape[1], image.shape[0])
        heat = np.asarray(smooth.resize(size, Image.Resampling.BICUBIC), dtype=np.float64)
    grey = image.mean(axis=2, keepdims=True).repeat(3, axis=2) * 0.75 + 48
    cover = (0.85 * np.sqrt(np.clip(heat, 0, 1)))[..., None]
    mixed = grey * (1 - cover) + to_colours(heat, "heat") * cover
    return np.asarray(mixed.round().clip(0, 255), dtype=np.uint8)


def to_pixels(decoded: NDArray[np.generic]) -> Pixels:
    """A decoded image [H, W, C] of any kind as RGB.

    Values that are not uint8 are scaled to the whole range; of images with neither 1 nor 3
    channels the first channel is shown.
    """
    values = decoded if decoded.ndim == 3 else decoded[:, :, None]
    if values.shape[2] != 3:
        values = values[:, :, :1]
    if values.dtype != np.uint8:
        values = (255 * to_unit(values.astype(np.float64))).round().astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))


def enlarge(pixels: Pixels, width: int, height: int) -> Pixels:
    """The pixels resized to fit into that size, with their aspect ratio."""
    picture = Image.fromarray(pixels)
    factor = min(width / picture.width, height / picture.height)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    kernel = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BICUBIC
    return np.asarray(picture.resize(size, kernel))
