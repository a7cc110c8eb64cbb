"""How a stored picture is turned upright, from EXIF and XMP metadata."""

import re
import struct

_XMP = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])")


def exif_orientation(tiff: bytes) -> int:
    """The orientation 1 to 8 in an EXIF block (its TIFF part); 1 if there is none."""
    return find_exif_orientation(tiff) or 1


def find_exif_orientation(tiff: bytes) -> int:
    """The orientation 1 to 8 in an EXIF block, with or without `Exif` before it; 0 for none."""
    tiff = tiff.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 0
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    if start + 2 > len(tiff):
        return 0
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for entry in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", tiff, entry)
        if tag == 0x0112:
            form = {1: "B", 3: "H", 4: "I"}.get(kind, "H")
            (value,) = struct.unpack_from(order + form, tiff, entry + 8)
            return int(value) if 1 <= value <= 8 else 0
    return 0


def find_xmp_orientation(packet: bytes) -> int:
    """The orientation 1 to 8 in an XMP packet; 0 if it has none."""
    found = _XMP.search(packet)
    return int(found[1]) if found else 0
