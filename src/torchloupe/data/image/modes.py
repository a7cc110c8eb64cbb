"""Pictures of any mode as 8-bit grey or RGB, by one set of rules."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchloupe.data.image.encoded import ImageError

FULL_WHITE = 65_535  # the white level of 16-bit images that use all of their range
LEAST_WHITE = 255  # fewer levels than 8 bits hold need no scaling


def to_mode(image: Image.Image, channels: int, white_level: int = FULL_WHITE) -> Image.Image:
    """The image in mode L (1 channel) or RGB (3); 16-bit grey scaled from 0..`white_level`."""
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format == "PPM"):
        image = _from_16_bit(image, white_level)
    elif mode in ("I", "F"):
        kind = "floating-point" if mode == "F" else "signed or 32-bit"
        raise ImageError(f"{kind} pixels have no fixed range; give such data as an array (.npy)")
    elif mode == "LAB":
        image = image.convert("RGB")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = _over_white(image.convert("RGBA"))
    return image.convert("L" if channels == 1 else "RGB")


def choose_white_level(peak: int) -> int:
    """2**bits - 1 for the bits that a largest 16-bit value needs; FULL_WHITE for 0, or 16 bits."""
    bits = peak.bit_length()
    return max(LEAST_WHITE, 2**bits - 1) if 0 < bits < 16 else FULL_WHITE


def scale_to_8_bit(values: NDArray[Any], white_level: int) -> NDArray[np.uint8]:
    """16-bit values as uint8, `white_level` as 255; ImageError for values above it."""
    peak = int(values.max(initial=0))
    if peak > white_level:
        raise ImageError(
            f"its 16-bit values go up to {peak:,}, and white is {white_level:,} in this data set"
        )
    wide = values.astype(np.uint32)
    return ((wide * 255 + white_level // 2) // white_level).clip(0, 255).astype(np.uint8)


def _from_16_bit(image: Image.Image, white_level: int) -> Image.Image:
    values = np.asarray(image)
    grey = Image.fromarray(scale_to_8_bit(values, white_level))
    clear = image.info.get("transparency")
    if not isinstance(clear, int):
        return grey
    grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def _over_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=image.getchannel("A"))
    return white
