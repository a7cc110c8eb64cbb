"""Encoded images to pixels: one defined outcome for every image there is.

JPEG goes through simplejpeg (libjpeg-turbo, strict: a truncated file is refused), all else
through Pillow's own reader of that format. What comes out is uint8 [H, W, C], C 1 or 3:

- turned upright by EXIF; the first frame of an animation, the first page of a TIFF;
- transparency over white; palettes looked up; CMYK and YCCK JPEG as Adobe stores them (inverted);
- 16-bit grey divided by 257; of 16-bit colours the high byte; 1-bit as 0 and 255;
- grey from colour by ITU-R 601 (JPEG: its own luma); colour profiles and gamma not applied.
"""

import threading
import warnings
from contextlib import AbstractContextManager, nullcontext
from io import BytesIO
from types import TracebackType
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from torchloupe.data.image.formats import (
    IMAGE_SUFFIXES,
    Encoded,
    ImageError,
    check_png_pixels,
    check_size,
    inspect,
)
from torchloupe.data.image.resize import fit_image
from torchloupe.errors import ResourceError, printable

try:
    from PIL import AvifImagePlugin  # Pillow 11.3, where it was built with libavif
except ImportError:
    AvifImagePlugin = None  # type: ignore[assignment]

__all__ = ["IMAGE_SUFFIXES", "ImageError", "decode_image", "is_grey", "read_size", "to_mode"]

Pixels8 = NDArray[np.uint8]
LARGE_PIXELS = 16 * 10**6  # such images are decoded one at a time, so that memory stays bounded

_TURNS = {  # EXIF orientation: how the stored picture is turned upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_READERS: dict[str, Any] = {
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
}
if AvifImagePlugin is not None:
    _READERS["AVIF"] = AvifImagePlugin.AvifImageFile


class _Quiet:
    """Warnings are off while any thread is inside.

    Pillow warns of odd TIFF tags, and warnings.catch_warnings is not made for threads: the
    first thread in turns them off, the last one out restores them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._catcher: warnings.catch_warnings[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._catcher = warnings.catch_warnings()
                self._catcher.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._catcher is not None:
                self._catcher.__exit__(None, None, None)


_quiet = _Quiet()
_one_large_image = threading.Lock()


def decode_image(
    data: bytes,
    channels: int,
    size: tuple[int, int] | None = None,
    *,
    fit: str = "crop",
    kernel: str = "bilinear",
    antialias: bool = True,
) -> Pixels8:
    """Pixels [H, W, channels] of an encoded image, upright; resized to `size` (H, W) if given.

    `channels` is 1 or 3. A JPEG much larger than needed is decoded at 1/2, 1/4 or 1/8, but never
    below twice the size it is then resized to. Raises ImageError with the reason.
    """
    encoded = inspect(data)
    image = _decode(encoded, channels, _enough(encoded, size, fit) if size else 1)
    return fit_image(image, size or (image.height, image.width), fit, kernel, antialias)


def read_size(data: bytes) -> tuple[int, int]:
    """(height, width) of the upright image, from its header where the format allows."""
    encoded = inspect(data)
    if not encoded.size[0]:
        turned = encoded.format in ("TIFF", "AVIF")  # their orientation is known once decoded
        image = _decode(encoded, 3, 1) if turned else _open(encoded)
        return image.height, image.width
    width, height = encoded.size
    return (width, height) if encoded.orientation >= 5 else (height, width)


def is_grey(data: bytes) -> bool:
    """Whether the image has no colour: stored as grey, or red, green and blue equal everywhere."""
    pixels = np.asarray(_decode(inspect(data), 3, 8))
    return bool(
        (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all()
    )


def to_mode(image: Image.Image, channels: int) -> Image.Image:
    """The image in mode L (1 channel) or RGB (3), as this module's rules say."""
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format == "PPM"):
        image = _from_16_bit(image)
    elif mode in ("I", "F"):
        kind = "floating-point" if mode == "F" else "32-bit"
        raise ImageError(f"{kind} pixels have no fixed range; give such data as an array (.npy)")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = _over_white(image.convert("RGBA"))
    return image.convert("L" if channels == 1 else "RGB")


def _room(width: int, height: int) -> AbstractContextManager[Any]:
    """Held while an image of this size is in memory."""
    return _one_large_image if width * height > LARGE_PIXELS else nullcontext()


def _decode(encoded: Encoded, channels: int, reduce: int) -> Image.Image:
    """The upright image, in mode L or RGB."""
    try:
        if encoded.format == "JPEG":
            with _room(*encoded.size):
                image = _decode_jpeg(encoded, channels, reduce)
        else:
            image = _open(encoded, load=True, channels=channels)
        turn = _TURNS.get(encoded.orientation)
        return image if turn is None else image.transpose(turn)
    except MemoryError:
        raise ResourceError(
            f"not enough memory to decode an image of {len(encoded.data):,} bytes",
            "free some memory, or shrink the image",
        ) from None


def _decode_jpeg(encoded: Encoded, channels: int, reduce: int) -> Image.Image:
    width, height = encoded.size
    try:
        _, _, space, _ = simplejpeg.decode_jpeg_header(encoded.data)
        four = space in ("CMYK", "YCCK")
        pixels = simplejpeg.decode_jpeg(
            encoded.data,
            "CMYK" if four else "GRAY" if channels == 1 else "RGB",
            min_height=-(-height // reduce),
            min_width=-(-width // reduce),
            min_factor=reduce,
        )
    except (ValueError, OverflowError, SystemError) as error:
        reason = str(error)
        short = "Premature end" in reason or "Could not determine" in reason
        raise ImageError("truncated JPEG" if short else f"damaged JPEG: {reason}") from None
    if not four:
        return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    ink, black = pixels[..., :3].astype(np.uint16), pixels[..., 3:].astype(np.uint16)
    light = ((ink * black + 127) // 255).astype(np.uint8)
    return to_mode(Image.fromarray(light), channels)


def _open(encoded: Encoded, *, load: bool = False, channels: int = 3) -> Image.Image:
    """The image as Pillow's reader of this format gives it; loaded and in its mode if asked."""
    if encoded.format not in _READERS:
        raise ImageError(f"{encoded.format} is not built into this Pillow")
    if load and encoded.format == "PNG":
        check_png_pixels(encoded.data)
    try:
        if encoded.format == "TIFF":
            with _quiet:
                return _open_quietly(encoded, load, channels)
        return _open_quietly(encoded, load, channels)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # over damaged files Pillow raises nearly every type there is
        reason = printable(str(error) or type(error).__name__, 120)
        if "truncated" in reason.lower():
            raise ImageError(f"truncated {encoded.format}") from None
        raise ImageError(f"unreadable {encoded.format}: {reason}") from None


def _open_quietly(encoded: Encoded, load: bool, channels: int) -> Image.Image:
    image: ImageFile.ImageFile = _READERS[encoded.format](BytesIO(encoded.data))
    check_size(*image.size)
    if not load:
        return image
    with _room(*image.size):
        image.load()
        upright = to_mode(image, channels)
    if encoded.format == "AVIF":  # turned by boxes of its own, which Pillow reports as EXIF
        turn = _TURNS.get(image.getexif().get(0x0112, 1))
        upright = upright if turn is None else upright.transpose(turn)
    return upright


def _enough(encoded: Encoded, size: tuple[int, int], fit: str) -> int:
    """By how much (1, 2, 4, 8) a JPEG may be reduced in decoding for this size and fit."""
    if encoded.format != "JPEG":
        return 1
    height, width = size if encoded.orientation < 5 else size[::-1]
    across, down = encoded.size[0] / width, encoded.size[1] / height
    ratio = max(across, down) if fit == "pad" else min(across, down)
    return next((factor for factor in (8, 4, 2) if ratio >= 2 * factor), 1)


def _from_16_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.uint32)
    grey = Image.fromarray(((values + 128) // 257).clip(0, 255).astype(np.uint8))
    clear = image.info.get("transparency")
    if not isinstance(clear, int):
        return grey
    grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def _over_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=image.getchannel("A"))
    return white
