"""Headers of GIF, and of the formats of textures, icons and old scans.

Of an animation, or an icon of many sizes, only what makes the picture is handed on to a decoder.
"""

import struct

from torchloupe.data.image.encoded import (
    Encoded,
    ImageError,
    check_size,
)
from torchloupe.data.image.png import SIGNATURE, inspect_png

MAX_BLOCKS = 1_000_000  # GIF's blocks of at most 256 bytes, up to the end of the first frame
MAX_SLOW_PIXELS = 16 * 10**6  # of QOI, whose decoder in Pillow takes a second a megapixel

_TGA_FOOTER = b"TRUEVISION-XFILE.\0"
_TGA_DEPTHS = {1: (8,), 2: (16, 24, 32), 3: (8, 16)}  # by kind: palette, colour, grey


def inspect_gif(data: bytes) -> Encoded:
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


def inspect_ico(data: bytes) -> Encoded:
    """The largest picture of an icon, of the most colours where several have that size."""
    (count,) = struct.unpack_from("<H", data, 4)
    entries = []
    for number in range(min(count, 256)):
        width, height, _, _, _, bits, length, start = struct.unpack_from(
            "<BBBBHHII", data, 6 + 16 * number
        )
        entries.append(((width or 256) * (height or 256), bits, length, start, number))
    if not entries:
        raise ImageError("damaged ICO: it holds no picture")
    *_, length, start, number = max(entries, key=lambda entry: entry[:2])
    picture = data[start : start + length]
    if start + length > len(data) or length < 40:
        raise ImageError("truncated ICO")
    if picture.startswith(SIGNATURE):
        return inspect_png(picture)
    _, width, height = struct.unpack_from("<Iii", picture)
    size = (width, abs(height) // 2)  # below the picture stands its mask
    check_size(*size)
    entry = data[6 + 16 * number : 18 + 16 * number] + struct.pack("<I", 22)
    return Encoded("ICO", struct.pack("<HHH", 0, 1, 1) + entry + picture, size)


def inspect_dds(data: bytes) -> Encoded:
    """The first picture of a DirectDraw surface."""
    header, _, height, width = struct.unpack_from("<IIII", data, 4)
    if header != 124 or len(data) < 128:
        raise ImageError("damaged DDS: its header has another length")
    check_size(width, height)
    return Encoded("DDS", data, (width, height))


def inspect_qoi(data: bytes) -> Encoded:
    """The picture of a QOI file."""
    width, height, channels = struct.unpack_from(">IIB", data, 4)
    check_size(width, height)
    if width * height > MAX_SLOW_PIXELS:
        raise ImageError(
            f"QOI of {width} x {height} pixels, more than {MAX_SLOW_PIXELS / 1e6:.0f} megapixels"
        )
    if channels not in (3, 4):
        raise ImageError(f"damaged QOI: {channels} channels")
    if data[-8:] != b"\0\0\0\0\0\0\0\1":
        raise ImageError("truncated QOI")
    return Encoded("QOI", data, (width, height))


def is_pcx(data: bytes) -> bool:
    """Whether `data` begins with a header of PCX, which has one byte of its own only."""
    return (
        len(data) >= 128
        and data[0] == 10
        and data[1] in (0, 2, 3, 4, 5)
        and data[2] == 1
        and data[3] in (1, 2, 4, 8)
        and data[64] == 0
        and data[65] in (1, 3, 4)
    )


def inspect_pcx(data: bytes) -> Encoded:
    """The picture of a PCX file."""
    left, top, right, bottom = struct.unpack_from("<HHHH", data, 4)
    size = (right - left + 1, bottom - top + 1)
    check_size(*size)
    return Encoded("PCX", data, size)


def is_tga(data: bytes) -> bool:
    """Whether `data` is a TGA file: by its footer, or by a header that fits what follows.

    The format has no signature; without a footer every field must have a value it can have.
    """
    if len(data) < 18:
        return False
    palette, kind, depth, flags = data[1], data[2], data[16], data[17]
    width, height = struct.unpack_from("<HH", data, 12)
    if (
        kind not in (1, 2, 3, 9, 10, 11)
        or palette not in (0, 1)
        or (palette == 0 and kind & 7 == 1)
        or depth not in _TGA_DEPTHS[kind & 7]
        or not (width and height)
    ):
        return False
    if data.endswith(_TGA_FOOTER):
        return True
    colours, bits = struct.unpack_from("<HB", data, 5)
    has_sound_palette = (
        (bits in (15, 16, 24, 32) and 1 <= colours <= 256) if palette else not any(data[3:8])
    )
    start = 18 + data[0] + (colours * (-(-bits // 8)) if palette else 0)
    is_long_enough = kind & 8 or len(data) - start >= width * height * depth // 16
    return (
        not flags & 0xC0 and flags & 15 in (0, 1, 8) and has_sound_palette and bool(is_long_enough)
    )


def inspect_tga(data: bytes) -> Encoded:
    """The picture of a TGA file."""
    width, height = struct.unpack_from("<HH", data, 12)
    check_size(width, height)
    depth, kind = data[16], data[2]
    (colours,) = struct.unpack_from("<H", data, 5)
    start = 18 + data[0] + (colours * (-(-data[7] // 8)) if data[1] else 0)
    if not kind & 8 and len(data) - start < width * height * (depth // 8):
        raise ImageError("truncated TGA")
    return Encoded("TGA", data, (width, height))
