"""Files made of boxes (ISO base media): AVIF, HEIC and JPEG 2000."""

import struct
from collections.abc import Iterator

from torchloupe.data.image.encoded import (
    MAX_SEGMENTS,
    ZERO_TAIL,
    Encoded,
    ImageError,
    check_size,
    refuse_zero_tail,
)

MAX_SAMPLES = 150 * 10**6  # of a JPEG 2000, each of which takes 4 bytes in decoding

_HEIC_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
)
_PADDING = (b"free", b"skip")
_SIZ = b"\xff\x51"  # the marker of a JPEG 2000 codestream that has the size


def brand_of(data: bytes) -> str:
    """AVIF, HEIC or the major brand of a file that begins with an `ftyp` box; else ""."""
    if data[4:8] != b"ftyp":
        return ""
    length = min(struct.unpack_from(">I", data)[0], 256)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, length - 3, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIC" if brands & _HEIC_BRANDS else data[8:12].decode("latin-1").strip()


def inspect_avif(data: bytes) -> Encoded:
    """AVIF, its size the largest that any of its parts claims; Pillow gives the orientation."""
    _check_parts(data, "AVIF")
    return Encoded("AVIF", data)


def inspect_heic(data: bytes) -> Encoded:
    """HEIC; its decoder turns it upright by itself, whatever its EXIF says."""
    _check_parts(data, "HEIC")
    return Encoded("HEIC", data)


def _check_parts(data: bytes, name: str) -> None:
    """Refuse a file with a part that is too large, without a size, or that ends in zeros."""
    at, has_size = data.find(b"ispe"), False
    while at >= 0:
        check_size(*struct.unpack_from(">II", data, at + 8))
        has_size = True
        at = data.find(b"ispe", at + 12)
    if not has_size:
        raise ImageError(f"damaged {name}: it does not say its size")
    ends = [end for kind, _, end in _find_boxes(data, 0) if kind not in _PADDING]
    refuse_zero_tail(name, data, min(ends[-1], len(data)) if ends else None)


def _find_boxes(data: bytes, at: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of the content, end) of each box from `at` on."""
    for _ in range(MAX_SEGMENTS):
        if at + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if length == 1 and at + 16 <= len(data):
            (length,) = struct.unpack_from(">Q", data, at + 8)
            start = at + 16
        end = len(data) if length == 0 else at + length
        if end < start or not kind.strip().isalnum():
            return
        yield kind, start, end
        at = end


def inspect_jpeg2000(data: bytes) -> Encoded:
    """The picture of a JPEG 2000 file or codestream."""
    start, end = 0, len(data)
    if not data.startswith(b"\xff\x4f"):
        streams = [box for box in _find_boxes(data, 0) if box[0] == b"jp2c"]
        if not streams:
            raise ImageError("truncated JPEG 2000: it ends before its pixels")
        _, start, end = streams[0]
    if end > len(data):
        raise ImageError("truncated JPEG 2000")
    if data[start + 2 : start + 4] != _SIZ:
        raise ImageError("damaged JPEG 2000: no size at its start")
    right, bottom, left, top = struct.unpack_from(">IIII", data, start + 8)
    check_size(right - left, bottom - top)
    (components,) = struct.unpack_from(">H", data, start + 40)
    if components > 4:
        raise ImageError(f"JPEG 2000 of {components:,} components; 4 at most are read")
    if (right - left) * (bottom - top) * components > MAX_SAMPLES:
        raise ImageError(
            f"JPEG 2000 of {right - left} x {bottom - top} pixels and {components} components: "
            f"more than {MAX_SAMPLES / 1e6:.0f} million samples"
        )
    if not data[end - ZERO_TAIL : end].rstrip(b"\0").endswith(b"\xff\xd9"):
        raise ImageError("truncated JPEG 2000")
    return Encoded("JPEG2000", data, (right - left, bottom - top))
