"""PNG chunks: checksums, orientation, and the few chunks that make the picture."""

import struct
import zlib

from torchloupe.data.image.encoded import MAX_SEGMENTS, Encoded, ImageError, check_size
from torchloupe.data.image.orientation import find_exif_orientation, find_xmp_orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_TEXT_BYTES = 2**20  # of metadata that is unpacked to find the orientation

_NEEDED = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
_TEXTS = frozenset((b"tEXt", b"zTXt", b"iTXt"))
_XMP, _RAW_EXIF = b"XML:com.adobe.xmp", b"Raw profile type exif"  # keywords of text chunks
_ADAM7 = (  # left, top, step across, step down of an interlaced PNG's passes
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)


def inspect_png(data: bytes) -> Encoded:
    """The picture of a PNG: its needed chunks, each of which has the checksum it should have."""
    if data[12:16] != b"IHDR":
        raise ImageError("damaged PNG: no header chunk")
    width, height = struct.unpack_from(">II", data, 16)
    check_size(width, height)
    kept, at = [SIGNATURE], 8
    turns: dict[str, int] = {}
    for _ in range(MAX_SEGMENTS):
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data):
            raise ImageError("truncated PNG")
        if kind in _NEEDED:
            body = memoryview(data)[at + 4 : end - 4]
            if zlib.crc32(body) != struct.unpack_from(">I", data, end - 4)[0]:
                raise ImageError(f"damaged PNG: wrong checksum of a {kind.decode()} chunk")
            kept.append(data[at:end])
        elif kind == b"eXIf":
            turns.setdefault("exif", find_exif_orientation(data[at + 8 : end - 4]))
        elif kind in _TEXTS and data.startswith((_XMP, _RAW_EXIF), at + 8):
            name, turn = _read_text(kind, data[at + 8 : end - 4])
            turns.setdefault(name, turn)
        at = end
        if kind == b"IEND":
            if not any(part[4:8] == b"IDAT" for part in kept):
                raise ImageError("damaged PNG: no pixels")
            found = (turns.get(name, 0) for name in ("exif", "raw exif", "xmp"))
            turn = next(filter(None, found), 1)
            return Encoded("PNG", b"".join(kept), (width, height), turn)
        if at >= len(data):
            raise ImageError("truncated PNG")
    raise ImageError(f"PNG of more than {MAX_SEGMENTS:,} chunks")


def is_deep_png(data: bytes) -> bool:
    """Whether a PNG has 16 bits a sample."""
    return data[24] == 16


def may_lack_rows(data: bytes, last_row_is_zero: bool) -> bool:
    """Whether a decoded PNG needs `check_png_pixels`.

    A decoder leaves rows that are missing at the end at zero; those of an interlaced image lie
    between others.
    """
    return last_row_is_zero or data[28] != 0


def check_png_pixels(data: bytes) -> None:
    """Refuse a PNG (as `inspect_png` gives it) whose chunks are whole and hold too few pixels.

    This unpacks the pixels once more, in bounded memory.
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


def _read_text(kind: bytes, body: bytes) -> tuple[str, int]:
    """Which metadata a text chunk holds, and the orientation in it; 0 if there is none."""
    keyword, _, rest = body.partition(b"\0")
    is_packed = kind == b"zTXt"
    if kind == b"zTXt":
        rest = rest[1:]  # the method of compression, always 0
    elif kind == b"iTXt":
        is_packed = rest[:1] == b"\1"
        rest = rest[2:].split(b"\0", 2)[-1]  # behind a language and a translated keyword
    try:
        text = zlib.decompressobj().decompress(rest, MAX_TEXT_BYTES) if is_packed else rest
        if keyword == _XMP:
            return "xmp", find_xmp_orientation(text[:MAX_TEXT_BYTES])
        if keyword == _RAW_EXIF:  # three lines (nothing, a name, a length), then hex digits
            digits = b"".join(text[:MAX_TEXT_BYTES].split(b"\n")[3:])
            return "raw exif", find_exif_orientation(bytes.fromhex(digits.decode("ascii")))
    except (zlib.error, ValueError, struct.error):
        pass  # of damaged metadata no orientation can be told; the picture is whole
    return "none", 0
