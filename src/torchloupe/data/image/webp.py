"""WebP: its size and orientation, and pictures that an interrupted download filled with zeros."""

import struct
from collections.abc import Iterator

from torchloupe.data.image.encoded import (
    MAX_SEGMENTS,
    ZERO_TAIL,
    Encoded,
    ImageError,
    check_size,
)
from torchloupe.data.image.orientation import exif_orientation

_PICTURES = (b"VP8 ", b"VP8L")
_FRAME, _FRAME_HEADER_BYTES = b"ANMF", 16
_CUT_BYTES = 8  # more than an encoder writes behind the last code


def inspect_webp(data: bytes) -> Encoded:
    """The picture of a WebP file, lossy or lossless."""
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


def cut_zero_tail(data: bytes) -> bytes | None:
    """The first picture of a WebP file without its last zeros; None if it has few.

    A sound picture, such as one with a flat ground, needs its last zeros, and can't be decoded
    without them. Where it can, they were put there by something else than an encoder.
    """
    found = _find_picture(data)
    if found is None:
        return None
    kind, start, end = found
    if any(data[max(start, end - ZERO_TAIL) : end]):
        return None
    picture = data[start : end - _CUT_BYTES]
    picture += bytes(len(picture) & 1)
    chunk = kind + struct.pack("<I", len(picture)) + picture
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


def _find_picture(data: bytes) -> tuple[bytes, int, int] | None:
    """The chunk with the first picture: its kind, and where its content starts and ends."""
    picture = None
    (length,) = struct.unpack_from("<I", data, 4)
    for chunk in _find_chunks(data, 12, min(length + 8, len(data))):
        kind, start, end = chunk
        if not kind.strip(b"\0"):
            raise ImageError("truncated WebP: it ends in zeros, as after an interrupted download")
        if picture is None and kind == _FRAME:
            inner = _find_chunks(data, start + _FRAME_HEADER_BYTES, end)
            picture = next((found for found in inner if found[0] in _PICTURES), None)
        elif picture is None and kind in _PICTURES:
            picture = chunk
    return picture


def _find_chunks(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of the content, end) of each chunk from `at` to `end`."""
    for _ in range(MAX_SEGMENTS):
        if at + 8 > end:
            return
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, at + 8, min(at + 8 + length, end)
        at += 8 + length + (length & 1)


def _webp_orientation(data: bytes, end: int) -> int:
    for kind, start, stop in _find_chunks(data, 12, end):
        if kind == b"EXIF":
            return exif_orientation(data[start:stop])
    return 1
