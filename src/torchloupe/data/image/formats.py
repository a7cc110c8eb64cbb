"""What a file says it is, before any pixel is decoded: format, size, orientation, first frame.

The content decides, never the name. Sizes are read from headers so that a bomb is refused
without being unpacked; of an animation, and of a PNG full of text chunks, only the parts that
make the first picture are handed on to a decoder.
"""

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from torchloupe.errors import DataError
from torchloupe.units import format_bytes

IMAGE_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "bmp", "dib", "webp"),
        *("tif", "tiff", "ppm", "pgm", "pbm", "pnm", "avif"),
    )
)
MAX_BYTES = 256 * 10**6  # of one encoded image
MAX_PIXELS = 100 * 10**6
MAX_SCANS = 500  # of a progressive JPEG; cameras and optimizers stay below 20
MAX_SCAN_PIXELS = 20 * MAX_PIXELS  # scans x pixels: what decoding all scans costs
MAX_SEGMENTS = 200_000  # JPEG segments, PNG chunks
MAX_BLOCKS = 1_000_000  # GIF's blocks of at most 256 bytes, up to the end of the first frame

_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # not stuffing, fill or restart
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_NEEDED = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
_ADAM7 = (  # left, top, step across, step down of an interlaced PNG's passes
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
_OTHERS = {
    b"%!PS": "EPS (PostScript)",
    b"%PDF": "PDF",
    b"8BPS": "Photoshop",
    b"\x00\x00\x00\x0cjP": "JPEG 2000",
    b"\x00\x00\x00\x0cJXL": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "gzip",
}


class ImageError(DataError):
    """One image that can't be used; the message is the reason, without the image's name."""


@dataclass(frozen=True)
class Encoded:
    """One still picture in its encoded form, checked as far as its headers go."""

    format: str  # JPEG PNG GIF WEBP AVIF BMP TIFF PPM
    data: bytes
    size: tuple[int, int] = (0, 0)  # (width, height) as stored; 0: only a decoder can tell
    orientation: int = 1  # EXIF's 1 to 8, still to be applied


def inspect(data: bytes) -> Encoded:
    """The first picture in `data`; ImageError where there is none, or one too large."""
    if not data:
        raise ImageError("empty file (0 bytes)")
    if len(data) > MAX_BYTES:
        raise ImageError(f"{format_bytes(len(data))}, more than {format_bytes(MAX_BYTES)} encoded")
    try:
        found = _inspect(data)
    except (IndexError, struct.error):
        raise ImageError("truncated in its header") from None
    return found


def check_size(width: int, height: int) -> None:
    """Refuse a picture of no pixels, or of more than MAX_PIXELS."""
    if width < 1 or height < 1:
        raise ImageError(f"header says {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"header says {width} x {height} = {width * height / 1e6:.0f} megapixels, "
            f"more than {MAX_PIXELS / 1e6:.0f}"
        )


def _inspect(data: bytes) -> Encoded:
    for (at, magic), read in _FORMATS.items():
        if data.startswith(magic, at):
            return read(data)
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return Encoded("PPM", data)
    raise ImageError(f"not an image: {_describe(data)}")


def _describe(data: bytes) -> str:
    """What a file that is no image of ours seems to be, for the person who named it so."""
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "it is a web page (HTML)"
    if start.startswith((b"<svg", b"<?xml")):
        return "it is a drawing or other text (SVG, XML)"
    if data[4:8] == b"ftyp" and data[8:11] in (b"hei", b"hev", b"mif", b"msf"):
        return "HEIC is not read here; convert it to JPEG"
    for magic, name in _OTHERS.items():
        if data.startswith(magic):
            return f"it is {name}"
    if not data.strip(b"\0"):
        return "it holds nothing but zeros"
    return "none of JPEG, PNG, GIF, WebP, TIFF, BMP, PPM, AVIF"


def exif_orientation(tiff: bytes) -> int:
    """The orientation 1 to 8 in an EXIF block (its TIFF part); 1 where there is none."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    if start + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for entry in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", tiff, entry)
        if tag == 0x0112:
            form = {1: "B", 3: "H", 4: "I"}.get(kind, "H")
            (value,) = struct.unpack_from(order + form, tiff, entry + 8)
            return int(value) if 1 <= value <= 8 else 1
    return 1


def _inspect_jpeg(data: bytes) -> Encoded:
    at, size, orientation = 2, None, 0
    for _ in range(MAX_SEGMENTS):
        while data[at] == 0xFF and data[at + 1] == 0xFF:
            at += 1  # fill bytes
        if data[at] != 0xFF:
            raise ImageError("damaged JPEG: no marker where one must be")
        marker = data[at + 1]
        if marker == 0xDA:  # start of scan: the pixels follow
            break
        if marker == 0xD9:
            raise ImageError("truncated JPEG: it ends before its pixels")
        (length,) = struct.unpack_from(">H", data, at + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            size = (width, height)
        elif marker == 0xE1 and not orientation and data[at + 4 : at + 10] == b"Exif\0\0":
            orientation = exif_orientation(data[at + 10 : at + 2 + length])
        at += 2 + max(length, 2)
    else:
        raise ImageError(f"more than {MAX_SEGMENTS:,} segments before the pixels")
    if size is None:
        raise ImageError("damaged JPEG: no frame header before the pixels")
    check_size(*size)
    scans = data.count(b"\xff\xda", at)
    if scans > 20:  # or a video behind the picture, as phones append: count what is a scan
        scans = _count_scans(data, at)
    if scans > MAX_SCANS or scans * size[0] * size[1] > MAX_SCAN_PIXELS:
        raise ImageError(f"JPEG of {size[0]} x {size[1]} pixels in {scans:,} scans or more")
    return Encoded("JPEG", data, size, orientation or 1)


def _count_scans(data: bytes, at: int) -> int:
    """How many scans a JPEG has from its first one at `at` to its end marker."""
    scans = 0
    while scans <= MAX_SCANS and (found := _JPEG_MARKER.search(data, at)):
        marker = data[found.start() + 1]
        if marker == 0xD9:
            break
        scans += marker == 0xDA
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return scans


def _inspect_png(data: bytes) -> Encoded:
    if data[12:16] != b"IHDR":
        raise ImageError("damaged PNG: no header chunk")
    width, height = struct.unpack_from(">II", data, 16)
    check_size(width, height)
    kept, at, orientation, kind = [_PNG], 8, 1, b""
    for _ in range(MAX_SEGMENTS):
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data):
            raise ImageError("truncated PNG")
        if kind in _PNG_NEEDED:
            body = memoryview(data)[at + 4 : end - 4]
            if zlib.crc32(body) != struct.unpack_from(">I", data, end - 4)[0]:
                raise ImageError(f"damaged PNG: wrong checksum of a {kind.decode()} chunk")
            kept.append(data[at:end])
        elif kind == b"eXIf":
            orientation = exif_orientation(data[at + 8 : end - 4])
        at = end
        if kind == b"IEND":
            if not any(part[4:8] == b"IDAT" for part in kept):
                raise ImageError("damaged PNG: no pixels")
            return Encoded("PNG", b"".join(kept), (width, height), orientation)
        if at >= len(data):
            raise ImageError("truncated PNG")
    raise ImageError(f"PNG of more than {MAX_SEGMENTS:,} chunks")


def check_png_pixels(data: bytes) -> None:
    """Refuse a PNG (as `inspect` gives it) whose chunks are whole and hold too few pixels.

    Pillow would leave the rest black. This unpacks the pixels once more, in bounded memory.
    """
    width, height, depth, colour, *_, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 0)
    missing = 0
    for left, top, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            missing += rows * (1 + -(-columns * bits // 8))
    stream, at, view = zlib.decompressobj(), 8, memoryview(data)
    try:
        while at < len(data) and missing > 0:
            (length,) = struct.unpack_from(">I", data, at)
            if data[at + 4 : at + 8] == b"IDAT":
                for start in range(at + 8, at + 8 + length, 65_536):
                    piece = view[start : min(start + 65_536, at + 8 + length)]
                    missing -= len(stream.decompress(piece))
            at += 12 + length
    except zlib.error as error:
        raise ImageError(f"damaged PNG: {error}") from None
    if missing > 0:
        raise ImageError("truncated PNG: it holds too few pixels")


def _inspect_gif(data: bytes) -> Encoded:
    """The screen, the colours and the first frame of a GIF, however many frames follow."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    head, control, seen = data[:at], b"", 0
    while data[at] == 0x21:
        end, seen = _skip_blocks(data, at + 2, seen)
        if data[at + 1] == 0xF9:
            control = data[at:end]
        at = end
        if seen > MAX_BLOCKS:
            raise ImageError("GIF of too many blocks before its first frame")
    if data[at] != 0x2C:
        raise ImageError("GIF without a frame")
    left, top, frame_width, frame_height, flags = struct.unpack_from("<HHHHB", data, at + 1)
    body = at + 10 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0) + 1
    end, _ = _skip_blocks(data, body, seen)
    size = (max(width, left + frame_width), max(height, top + frame_height))
    check_size(*size)
    if max(size) > 0xFFFF:
        raise ImageError("damaged GIF: a frame outside of its screen")
    head = head[:6] + struct.pack("<HH", *size) + head[10:]
    return Encoded("GIF", head + control + data[at:end] + b";", size)


def _skip_blocks(data: bytes, at: int, seen: int) -> tuple[int, int]:
    """Where the chain of GIF sub-blocks at `at` ends, and how many were seen in all."""
    seen += 1
    while data[at]:
        at += data[at] + 1
        seen += 1
        if at >= len(data):
            raise ImageError("truncated GIF")
    return at + 1, seen


def _inspect_webp(data: bytes) -> Encoded:
    (length,) = struct.unpack_from("<I", data, 4)
    if length + 8 > len(data):
        raise ImageError("truncated WebP")
    kind, orientation = data[12:16], 1
    if kind == b"VP8X":
        size = (
            int.from_bytes(data[24:27], "little") + 1,
            int.from_bytes(data[27:30], "little") + 1,
        )
        if data[20] & 0x08:
            orientation = _webp_orientation(data, length + 8)
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        size = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    elif kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        size = (width & 0x3FFF, height & 0x3FFF)
    else:
        raise ImageError("damaged WebP: no picture chunk")
    check_size(*size)
    return Encoded("WEBP", data, size, orientation)


def _webp_orientation(data: bytes, end: int) -> int:
    at = 12
    for _ in range(MAX_SEGMENTS):
        if at + 8 > end:
            break
        (length,) = struct.unpack_from("<I", data, at + 4)
        if data[at : at + 4] == b"EXIF":
            return exif_orientation(data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
        at += 8 + length + (length & 1)
    return 1


def _inspect_avif(data: bytes) -> Encoded:
    """AVIF, its size the largest that any of its parts claims; Pillow gives the orientation."""
    at, size = data.find(b"ispe"), (0, 0)
    while at >= 0:
        width, height = struct.unpack_from(">II", data, at + 8)
        check_size(width, height)
        size = (max(size[0], width), max(size[1], height))
        at = data.find(b"ispe", at + 12)
    if not size[0]:
        raise ImageError("damaged AVIF: it does not say its size")
    return Encoded("AVIF", data)


def _inspect_tiff(data: bytes) -> Encoded:
    return Encoded("TIFF", data)  # Pillow reads the size, and turns it by its orientation


def _inspect_bmp(data: bytes) -> Encoded:
    return Encoded("BMP", data)


_FORMATS: dict[tuple[int, bytes], Callable[[bytes], Encoded]] = {
    (0, b"\xff\xd8\xff"): _inspect_jpeg,
    (0, _PNG): _inspect_png,
    (0, b"GIF87a"): _inspect_gif,
    (0, b"GIF89a"): _inspect_gif,
    (8, b"WEBP"): _inspect_webp,
    (4, b"ftypavif"): _inspect_avif,
    (4, b"ftypavis"): _inspect_avif,
    (0, b"II*\0"): _inspect_tiff,
    (0, b"MM\0*"): _inspect_tiff,
    (0, b"II+\0"): _inspect_tiff,
    (0, b"MM\0+"): _inspect_tiff,
    (0, b"BM"): _inspect_bmp,
}
