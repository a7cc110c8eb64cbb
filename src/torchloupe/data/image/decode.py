"""Encoded images to pixels: one defined outcome for every image there is.

JPEG goes through simplejpeg (libjpeg-turbo, strict: a truncated file is refused), all else
through Pillow's own reader of that format. What comes out is uint8 [H, W, C], C 1 or 3:

- turned upright by EXIF (PNG: also XMP); the first frame of an animation, the first page of a TIFF;
- transparency over white; palettes looked up; CMYK and YCCK JPEG as Adobe stores them (inverted);
- 16 bits scaled so that the white level of the data set becomes 255; 1-bit as 0 and 255;
- grey from colour by ITU-R 601 (JPEG: its own luma); colour profiles and gamma not applied.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from torchloupe.data.image.deep import read_samples
from torchloupe.data.image.encoded import MAX_PIXELS, Encoded, ImageError
from torchloupe.data.image.formats import IMAGE_SUFFIXES, inspect
from torchloupe.data.image.jpeg import explain_jpeg
from torchloupe.data.image.modes import FULL_WHITE, scale_to_8_bit, to_mode
from torchloupe.data.image.png import check_png_pixels, may_lack_rows
from torchloupe.data.image.readers import open_image, reading
from torchloupe.data.image.resize import fit_image
from torchloupe.data.image.room import Room
from torchloupe.data.image.webp import cut_zero_tail
from torchloupe.errors import ResourceError

__all__ = [
    "FULL_WHITE",
    "IMAGE_SUFFIXES",
    "ImageError",
    "decode_image",
    "decode_upright",
    "find_peak",
    "is_grey",
    "read_size",
    "to_mode",
]

Pixels8 = NDArray[np.uint8]
LARGE_PIXELS = 16 * 10**6  # of such images only some are decoded at once

_TURNS = {  # EXIF orientation: how the stored picture is turned upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FOR_PILLOW = ("Could not determine", "Unsupported color conversion", "subsampling")
_large_images = Room(MAX_PIXELS)  # together no more than a single one may have


def decode_image(
    data: bytes,
    channels: int,
    size: tuple[int, int] | None = None,
    *,
    fit: str = "crop",
    kernel: str = "bilinear",
    antialias: bool = True,
    white_level: int = FULL_WHITE,
) -> Pixels8:
    """Pixels [H, W, channels] of an encoded image, upright; resized to `size` (H, W) if given.

    `channels` is 1 or 3. A JPEG much larger than needed is decoded at 1/2, 1/4 or 1/8, but never
    below twice the size it is then resized to. Samples of 16 bits are scaled from 0..`white_level`.
    Raises ImageError with the reason.
    """
    image = decode_upright(data, channels, size, fit=fit, white_level=white_level)
    return fit_image(image, size or (image.height, image.width), fit, kernel, antialias)


def decode_upright(
    data: bytes,
    channels: int,
    size: tuple[int, int] | None = None,
    *,
    fit: str = "crop",
    white_level: int = FULL_WHITE,
) -> Image.Image:
    """The upright image in mode L or RGB, not yet resized: the first half of `decode_image`."""
    encoded = inspect(data)
    reduce = _enough(encoded, size, fit) if size else 1
    return _decode(encoded, channels, reduce, white_level)


def read_size(data: bytes) -> tuple[int, int]:
    """(height, width) of the upright image, from its header where the format allows."""
    encoded = inspect(data)
    if not encoded.size[0]:
        if encoded.format in ("TIFF", "AVIF"):  # their orientation is known once decoded
            image = _decode(encoded, 3, 1, FULL_WHITE)
        else:
            with reading(encoded):
                image = open_image(encoded)
        return image.height, image.width
    width, height = encoded.size
    return (width, height) if encoded.orientation >= 5 else (height, width)


def is_grey(data: bytes) -> bool:
    """Whether the image has no colour: stored as grey, or red, green and blue equal everywhere."""
    encoded = inspect(data)
    with reading(encoded):
        samples = read_samples(encoded)
    pixels = samples if samples is not None else np.asarray(_decode(encoded, 3, 8, FULL_WHITE))
    if pixels.shape[2] < 3:
        return True
    return bool(
        (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all()
    )


def find_peak(data: bytes) -> int:
    """The largest 16-bit value of an image, alpha left out; 0 for an image of 8 bits or fewer."""
    encoded = inspect(data)
    with reading(encoded):
        samples = read_samples(encoded)
    if samples is None:
        return 0
    colours = samples[..., : 1 if samples.shape[2] < 3 else 3]
    return int(colours.max(initial=0))


def _room(pixels: int) -> AbstractContextManager[Any]:
    """Room for decoding an image of this many pixels, so that memory stays bounded."""
    return _large_images.take(pixels) if pixels > LARGE_PIXELS else nullcontext()


def _decode(encoded: Encoded, channels: int, reduce: int, white_level: int) -> Image.Image:
    """The upright image, in mode L or RGB."""
    try:
        if encoded.format == "JPEG":
            image = _decode_jpeg(encoded, channels, 1 if encoded.is_lossless else reduce)
        else:
            with reading(encoded):
                image = _decode_by_pillow(encoded, channels, white_level)
        turn = _TURNS.get(encoded.orientation)
        return image if turn is None else image.transpose(turn)
    except MemoryError:
        raise ResourceError(
            f"not enough memory to decode an image of {len(encoded.data):,} bytes",
            "free some memory, or shrink the image",
        ) from None


def _decode_jpeg(encoded: Encoded, channels: int, reduce: int) -> Image.Image:
    width, height = encoded.size
    needed = (-(-width // reduce), -(-height // reduce))
    is_cmyk, is_grey = encoded.components == 4, encoded.components == 1
    as_grey = is_grey or (channels == 1 and not is_cmyk and not encoded.is_lossless)
    try:
        with _room(width * height if encoded.is_buffered else needed[0] * needed[1]):
            pixels = simplejpeg.decode_jpeg(
                encoded.data,
                "CMYK" if is_cmyk else "GRAY" if as_grey else "RGB",
                min_height=needed[1],
                min_width=needed[0],
                min_factor=reduce,
            )
    except (ValueError, OverflowError, SystemError, KeyError) as error:
        if isinstance(error, KeyError) or any(words in str(error) for words in _FOR_PILLOW):
            return _decode_odd_jpeg(encoded, channels)
        raise ImageError(explain_jpeg(str(error))) from None
    if is_cmyk:
        return to_mode(_mix_inks(pixels), channels)
    return to_mode(Image.fromarray(pixels[:, :, 0] if as_grey else pixels), channels)


def _decode_odd_jpeg(encoded: Encoded, channels: int) -> Image.Image:
    """A JPEG of a sampling that simplejpeg doesn't know, read by Pillow."""
    with reading(encoded), _room(encoded.size[0] * encoded.size[1]):
        image = open_image(encoded)
        if channels == 1 and encoded.components == 3 and not encoded.is_lossless:
            image.draft("L", image.size)  # its own luma
        image.load()
        if encoded.components == 4:  # Pillow has turned the inks that Adobe stores inverted
            return to_mode(_mix_inks(255 - np.asarray(image)), channels)
        return to_mode(image, channels)


def _mix_inks(pixels: Pixels8) -> Image.Image:
    """RGB from the inverted CMYK [H, W, 4] of a JPEG."""
    ink, black = pixels[..., :3].astype(np.uint16), pixels[..., 3:].astype(np.uint16)
    return Image.fromarray(((ink * black + 127) // 255).astype(np.uint8))


def _decode_by_pillow(encoded: Encoded, channels: int, white_level: int) -> Image.Image:
    if encoded.format == "WEBP":
        _refuse_unneeded_zeros(encoded)
    opened = open_image(encoded)
    image: Image.Image = opened
    with _room(image.width * image.height):
        samples = read_samples(encoded) if white_level != FULL_WHITE else None
        if samples is not None and samples.shape[2] > 1:
            image = _from_samples(samples, white_level)
        else:
            opened.load()
        if encoded.format == "PNG" and may_lack_rows(encoded.data, _ends_in_zeros(image)):
            check_png_pixels(encoded.data)
        if encoded.format == "TGA" and image.mode == "RGBA" and not encoded.data[17] & 15:
            upright = to_mode(image.convert("RGB"), channels)  # its fourth byte means nothing
        else:
            upright = to_mode(image, channels, white_level)
    if encoded.format == "AVIF":  # turned by boxes of its own, which Pillow reports as EXIF
        turn = _TURNS.get(image.getexif().get(0x0112, 1))
        upright = upright if turn is None else upright.transpose(turn)
    return upright


def _refuse_unneeded_zeros(encoded: Encoded) -> None:
    """ImageError if a WebP ends in zeros that its picture doesn't need."""
    shorter = cut_zero_tail(encoded.data)
    if shorter is None:
        return
    try:
        with _room(encoded.size[0] * encoded.size[1]):
            open_image(Encoded("WEBP", shorter)).load()
    except (OSError, ValueError, SyntaxError):
        return
    raise ImageError("truncated WebP: it ends in zeros, as after an interrupted download")


def _from_samples(samples: NDArray[np.uint16], white_level: int) -> Image.Image:
    """16-bit grey with alpha, RGB or RGBA [H, W, C] as an 8-bit image."""
    last = samples.shape[2] - (samples.shape[2] % 2 == 0)
    parts = [scale_to_8_bit(samples[..., :last], white_level)]
    if last < samples.shape[2]:
        parts.append((samples[..., last:] >> 8).astype(np.uint8))
    return Image.fromarray(np.concatenate(parts, axis=2))


def _ends_in_zeros(image: Image.Image) -> bool:
    """Whether the last row of a loaded image is zero."""
    return not np.asarray(image.crop((0, image.height - 1, image.width, image.height))).any()


def _enough(encoded: Encoded, size: tuple[int, int], fit: str) -> int:
    """By how much (1, 2, 4, 8) a JPEG may be reduced in decoding for this size and fit."""
    if encoded.format != "JPEG":
        return 1
    height, width = size if encoded.orientation < 5 else size[::-1]
    across, down = encoded.size[0] / width, encoded.size[1] / height
    ratio = max(across, down) if fit == "pad" else min(across, down)
    return next((factor for factor in (8, 4, 2) if ratio >= 2 * factor), 1)
