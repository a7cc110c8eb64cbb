"""What a file says it is, before any pixel is decoded: format, size, orientation, first frame.

The content decides, never the name. Sizes are read from headers so that a bomb is refused
without being unpacked; only the parts that make the first picture are handed on to a decoder.
"""

import os
import struct
from collections.abc import Callable

from torchloupe.data.image.boxes import brand_of, inspect_avif, inspect_heic, inspect_jpeg2000
from torchloupe.data.image.encoded import (
    MAX_BYTES,
    READ_FORMATS,
    Encoded,
    ImageError,
    check_size,
)
from torchloupe.data.image.headers import (
    inspect_dds,
    inspect_gif,
    inspect_ico,
    inspect_pcx,
    inspect_qoi,
    inspect_tga,
    is_pcx,
    is_tga,
)
from torchloupe.data.image.jpeg import inspect_jpeg
from torchloupe.data.image.orientation import exif_orientation
from torchloupe.data.image.png import SIGNATURE, inspect_png
from torchloupe.data.image.webp import inspect_webp
from torchloupe.units import format_bytes

__all__ = [
    "HEAD_BYTES",
    "IMAGE_SUFFIXES",
    "MAX_BYTES",
    "Encoded",
    "ImageError",
    "begins_an_image",
    "check_size",
    "exif_orientation",
    "inspect",
    "names_an_image",
]

IMAGE_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "bmp", "dib", "webp"),
        *("tif", "tiff", "ppm", "pgm", "pbm", "pnm", "avif", "heic", "heif", "hif"),
        *("jp2", "j2k", "j2c", "jpc", "jpx", "jpf", "jxl"),
        *("tga", "icb", "vda", "vst", "ico", "pcx", "dds", "qoi"),
    )
)
HEAD_BYTES = 128  # of a file, which `begins_an_image` needs

_JPEG_XL = "JPEG XL is not read here; convert it to PNG or JPEG (djxl IMAGE.jxl IMAGE.png)"
_JPEG_XL_STARTS = (b"\x00\x00\x00\x0cJXL ", b"\xff\x0a")
_OTHERS = {  # signatures of files that are not readable images, with the reason given
    b"%!PS": "it is EPS (PostScript)",
    b"%PDF": "it is PDF",
    b"8BPS": "it is Photoshop",
    b"PK\x03\x04": "it is a zip archive",
    b"\x1f\x8b": "it is gzip",
    **dict.fromkeys(_JPEG_XL_STARTS, _JPEG_XL),
}
_BRANDS = {  # of files made of boxes
    "crx": "it is a raw photograph (CR3); convert it to JPEG or TIFF",
    **dict.fromkeys(
        ("isom", "iso2", "mp41", "mp42", "avc1", "qt", "M4V", "3gp4", "3gp5"), "it is a video"
    ),
}
_BMP_HEADERS = frozenset(n.to_bytes(4, "little") for n in (12, 16, 40, 52, 56, 64, 108, 124))
_BMP_DEPTHS = frozenset((1, 4, 8, 16, 24, 32))


def inspect(data: bytes) -> Encoded:
    """The first picture in `data`; ImageError if there is none, or one too large."""
    if not data:
        raise ImageError("empty file (0 bytes)")
    if len(data) > MAX_BYTES:
        raise ImageError(f"{format_bytes(len(data))}, more than {format_bytes(MAX_BYTES)} encoded")
    try:
        read = _find_reader(data)
        if read is None and is_tga(data):
            read = inspect_tga
        if read is None:
            raise ImageError(f"not an image: {_describe(data)}")
        return read(data)
    except (IndexError, struct.error):
        raise ImageError("truncated in its header") from None


def begins_an_image(head: bytes) -> bool:
    """Whether the first HEAD_BYTES bytes are those of an image, in a supported format or not.

    TGA has no signature, and is known by its ending only.
    """
    try:
        if head.startswith(b"BM"):  # two letters that a text may begin with, too
            return head[14:18] in _BMP_HEADERS
        return head.startswith(_JPEG_XL_STARTS) or _find_reader(head) is not None
    except (IndexError, struct.error):
        return False


def names_an_image(path: str) -> bool:
    """Whether a file is an image by its ending; one without an ending by its first bytes.

    A number, as in `scan.0042`, is no ending.
    """
    ending = os.path.splitext(path)[1].lower()  # noqa: PTH122
    if ending in IMAGE_SUFFIXES:
        return True
    if ending and not ending[1:].isdigit():
        return False
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return begins_an_image(file.read(HEAD_BYTES))
    except OSError:
        return False


def _find_reader(data: bytes) -> Callable[[bytes], Encoded] | None:
    """The function that reads the header of this format; None for no format that is read."""
    for (at, magic), read in _FORMATS.items():
        if data.startswith(magic, at):
            return read
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return _inspect_ppm
    if data[:4] in _BMP_HEADERS and data[12:14] == b"\1\0" and data[14] in _BMP_DEPTHS:
        return _inspect_dib
    brand = brand_of(data)
    if brand in ("AVIF", "HEIC"):
        return inspect_avif if brand == "AVIF" else inspect_heic
    return inspect_pcx if is_pcx(data) else None


def _describe(data: bytes) -> str:
    """What a file that can't be read as an image seems to be."""
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "it is a web page (HTML)"
    if start.startswith((b"<svg", b"<?xml")):
        return "it is a drawing or other text (SVG, XML)"
    for magic, name in _OTHERS.items():
        if data.startswith(magic):
            return name
    if (brand := brand_of(data)) in _BRANDS:
        return _BRANDS[brand]
    if not data.strip(b"\0"):
        return "it holds nothing but zeros"
    return f"none of {', '.join(READ_FORMATS)}"


def _inspect_tiff(data: bytes) -> Encoded:
    return Encoded("TIFF", data)  # Pillow reads the size, and turns it by its orientation


def _inspect_bmp(data: bytes) -> Encoded:
    return Encoded("BMP", data)


def _inspect_dib(data: bytes) -> Encoded:
    return Encoded("DIB", data)  # a BMP without the header of the file


def _inspect_ppm(data: bytes) -> Encoded:
    return Encoded("PPM", data)


_FORMATS: dict[tuple[int, bytes], Callable[[bytes], Encoded]] = {
    (0, b"\xff\xd8"): inspect_jpeg,
    (0, SIGNATURE): inspect_png,
    (0, b"GIF87a"): inspect_gif,
    (0, b"GIF89a"): inspect_gif,
    (8, b"WEBP"): inspect_webp,
    (0, b"II*\0"): _inspect_tiff,
    (0, b"MM\0*"): _inspect_tiff,
    (0, b"II+\0"): _inspect_tiff,
    (0, b"MM\0+"): _inspect_tiff,
    (0, b"BM"): _inspect_bmp,
    (0, b"\x00\x00\x00\x0cjP"): inspect_jpeg2000,
    (0, b"\xff\x4f\xff\x51"): inspect_jpeg2000,
    (0, b"\0\0\1\0"): inspect_ico,
    (0, b"DDS "): inspect_dds,
    (0, b"qoif"): inspect_qoi,
}
