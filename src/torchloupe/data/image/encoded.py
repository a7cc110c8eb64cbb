"""One encoded image as its headers describe it, and the limits on what is decoded.

The modules that read headers (jpeg, png, headers, boxes) build on this one.
"""

from dataclasses import dataclass

from torchloupe.errors import DataError

MAX_BYTES = 256 * 10**6  # of one encoded image
MAX_PIXELS = 100 * 10**6
MAX_SEGMENTS = 200_000  # JPEG segments, PNG chunks, boxes
ZERO_TAIL = 16  # zero bytes at the end of a file that no encoder writes there

READ_FORMATS = (
    *("JPEG", "PNG", "GIF", "WebP", "TIFF", "BMP", "PPM", "AVIF", "HEIC", "JPEG 2000"),
    *("TGA", "ICO", "PCX", "DDS", "QOI"),
)


class ImageError(DataError):
    """One image that can't be used; the message is the reason, without the image's name."""


@dataclass(frozen=True)
class Encoded:
    """One still picture in its encoded form, checked as far as its headers go."""

    format: str  # JPEG PNG GIF WEBP AVIF HEIC BMP DIB TIFF PPM JPEG2000 TGA ICO PCX DDS QOI
    data: bytes
    size: tuple[int, int] = (0, 0)  # (width, height) as stored; 0: known after decoding
    orientation: int = 1  # EXIF's 1 to 8, still to be applied
    components: int = 0  # of a JPEG: 1 grey, 3 colour, 4 CMYK
    is_lossless: bool = False  # a lossless JPEG, which can't be reduced in decoding
    is_buffered: bool = False  # a JPEG whose coefficients are all held while it is decoded


def check_size(width: int, height: int) -> None:
    """Refuse a picture of no pixels, or of more than MAX_PIXELS."""
    if width < 1 or height < 1:
        raise ImageError(f"header says {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"header says {width} x {height} = {width * height / 1e6:.0f} megapixels, "
            f"more than {MAX_PIXELS / 1e6:.0f}"
        )


def refuse_zero_tail(name: str, data: bytes, end: int | None = None) -> None:
    """ImageError if `data` ends (at `end`) in zeros, as after an interrupted download.

    Decoders of AVIF and HEIC take such a tail for a part of the picture, and no encoder writes one.
    """
    end = len(data) if end is None else end
    if end >= ZERO_TAIL and not any(data[end - ZERO_TAIL : end]):
        raise ImageError(f"truncated {name}: it ends in zeros, as after an interrupted download")
