"""JPEG headers: size, orientation, scans, and a header rebuilt from what decoding needs.

Only tables, frame, restart interval and the two markers that decide colour are handed on to the
decoder, so that odd metadata, or bytes between the segments, can't make it refuse sound pixels.
"""

import re
import struct

from torchloupe.data.image.encoded import (
    MAX_PIXELS,
    MAX_SEGMENTS,
    Encoded,
    ImageError,
    check_size,
)
from torchloupe.data.image.orientation import exif_orientation

MAX_SCANS = 500  # of a progressive JPEG; cameras and optimizers stay below 20
MAX_SCAN_PIXELS = 20 * MAX_PIXELS  # scans x pixels: what decoding all scans costs

_HEADER_MARKER = re.compile(rb"\xff[^\x00\xff]")
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # not stuffing, fill or restart
_TABLES = frozenset((0xDB, 0xC4, 0xCC, 0xDD))  # quantization, Huffman, arithmetic, restart
_NO_LENGTH = frozenset((0x01, 0xD8, *range(0xD0, 0xD8)))
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA))
_LOSSLESS = frozenset((0xC3, 0xCB))
_HIERARCHICAL = frozenset((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF))
_JFIF = b"\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0"  # says that three components are YCbCr

_REASONS = (  # what libjpeg says, and what a person can do with it
    (
        "extraneous bytes before marker",
        "damaged JPEG: there are extraneous bytes in its pixel data, as after "
        "a faulty transfer; if it looks right in a viewer, save it as a new file",
    ),
    ("premature end of data segment", "damaged JPEG: a part of its pixel data ends too early"),
    ("bad Huffman code", "damaged JPEG: its pixel data contain invalid codes"),
    ("bad arithmetic code", "damaged JPEG: its pixel data contain invalid codes"),
    ("instead of RST", "damaged JPEG: a part of its pixel data is missing or out of place"),
    ("Premature end", "truncated JPEG"),
    ("Unsupported color conversion", "JPEG of a colour space that is not read here"),
)


def inspect_jpeg(data: bytes) -> Encoded:
    """The picture of a JPEG file; what stands between or in its other segments is left out."""
    at, orientation = 2, 0
    kept, frame, marker = [data[:2]], b"", 0
    for _ in range(MAX_SEGMENTS):
        found = _HEADER_MARKER.search(data, at)
        if found is None:
            raise ImageError("truncated in its header")
        code, start = found[0][1], found.end()
        if code == 0xDA:  # start of scan: the pixels follow
            at = start - 2
            break
        if code == 0xD9:
            raise ImageError("truncated JPEG: it ends before its pixels")
        if code in _NO_LENGTH:
            at = start
            continue
        (length,) = struct.unpack_from(">H", data, start)
        end = start + max(length, 2)
        if code == 0xF7:
            raise ImageError("JPEG-LS is not read here; convert it to PNG")
        if code in _FRAMES:
            if frame:
                raise ImageError("damaged JPEG: two frame headers before the pixels")
            frame, marker = data[start:end], code
            kept.append(b"\xff" + data[start - 1 : end])
        elif code in _TABLES or (code == 0xEE and data[start + 2 : start + 7] == b"Adobe"):
            kept.append(b"\xff" + data[start - 1 : end])
        elif code == 0xE0 and length >= 16 and data[start + 2 : start + 7] == b"JFIF\0":
            kept.append(_JFIF)
        elif code == 0xE1 and not orientation and data[start + 2 : start + 8] == b"Exif\0\0":
            orientation = exif_orientation(data[start + 8 : end])
        at = end
    else:
        raise ImageError(f"more than {MAX_SEGMENTS:,} segments before the pixels")
    if not frame:
        raise ImageError("damaged JPEG: no frame header before the pixels")
    size, components = _check_frame(frame, marker)
    _check_scans(data, at, size)
    return Encoded(
        "JPEG",
        b"".join((*kept, data[at:])),
        size,
        orientation or 1,
        components=components,
        is_lossless=marker in _LOSSLESS,
        is_buffered=marker in _PROGRESSIVE or data[at + 4] < components,
    )


def explain_jpeg(reason: str) -> str:
    """What libjpeg says of a JPEG, as the reason why it is refused."""
    for said, words in _REASONS:
        if said in reason:
            return words
    return f"damaged JPEG: {reason}"


def _check_frame(frame: bytes, marker: int) -> tuple[tuple[int, int], int]:
    """(width, height) and the number of components of a frame header without its marker."""
    _, bits, height, width, components = struct.unpack_from(">HBHHB", frame)
    check_size(width, height)
    if marker in _HIERARCHICAL:
        raise ImageError("hierarchical JPEG is not read here; convert it to PNG")
    if bits != 8:
        raise ImageError(f"JPEG of {bits} bits per sample is not read here; convert it to PNG")
    return (width, height), components


def _check_scans(data: bytes, at: int, size: tuple[int, int]) -> None:
    """Refuse a JPEG whose scans, the first of them at `at`, would take minutes to decode."""
    scans = data.count(b"\xff\xda", at)
    if scans > 20:  # or a video behind the picture, as phones append: count what is a scan
        scans = _count_scans(data, at)
    if scans > MAX_SCANS or scans * size[0] * size[1] > MAX_SCAN_PIXELS:
        raise ImageError(f"JPEG of {size[0]} x {size[1]} pixels in {scans:,} scans or more")


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
