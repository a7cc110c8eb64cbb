"""16-bit samples of an image in full, of which Pillow alone gives grey and the high bytes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile

from torchloupe.data.image.encoded import Encoded, ImageError
from torchloupe.data.image.png import is_deep_png
from torchloupe.data.image.readers import open_image

Samples = NDArray[np.uint16]

_OTHER_BYTE = {"16B": "16L", "16L": "16B", "16N": "16B"}  # N is little-endian nearly everywhere


def read_samples(encoded: Encoded) -> Samples | None:
    """The 16-bit samples [H, W, C] of an image in full, C 1 to 4; None if it has 8 bits.

    Of a PPM they are scaled from its own maximum. Of JPEG 2000 only grey has more than 8 bits.
    """
    if encoded.format not in ("PNG", "TIFF", "PPM", "JPEG2000"):
        return None
    if encoded.format == "PNG" and not is_deep_png(encoded.data):
        return None
    image = open_image(encoded)
    if image.mode.startswith("I;16") or (image.mode == "I" and encoded.format == "PPM"):
        return np.asarray(image).astype(np.uint16)[:, :, None]
    if encoded.format == "PPM":
        return _read_ppm(encoded, image)
    return _read_both_bytes(encoded, image)


def _read_both_bytes(encoded: Encoded, image: ImageFile.ImageFile) -> Samples | None:
    """The samples of 16-bit colour or grey with alpha; None for anything else.

    The low bytes come from a second decoding in which the two bytes of a sample have changed
    places.
    """
    layouts = [_layout_of(tile) for tile in image.tile]
    if not layouts or any(layout[-3:] not in _OTHER_BYTE for layout in layouts):
        return None
    if layouts[0] == "LA;16B":  # its four bytes a pixel are read as four channels
        image.tile = [_with_layout(tile, "RGBA") for tile in image.tile]
        parts = np.asarray(image).astype(np.uint16)
        return np.asarray(parts[:, :, ::2] << 8 | parts[:, :, 1::2], dtype=np.uint16)
    high = np.asarray(image).astype(np.uint16)
    again = open_image(encoded)
    again.tile = [
        _with_layout(tile, layout[:-3] + _OTHER_BYTE[layout[-3:]])
        for tile, layout in zip(again.tile, layouts, strict=True)
    ]
    return np.asarray(high << 8 | np.asarray(again), dtype=np.uint16)


def _read_ppm(encoded: Encoded, image: ImageFile.ImageFile) -> Samples | None:
    """The samples of a binary colour PPM of more than 8 bits; None for any other PPM."""
    decoder, _, start, given = image.tile[0]
    largest = given[-1] if isinstance(given, tuple) else given
    if decoder != "ppm" or image.mode != "RGB" or not isinstance(largest, int) or largest < 256:
        return None
    width, height = image.size
    count = width * height * 3
    if len(encoded.data) < start + 2 * count:
        raise ImageError("truncated PPM")
    values = np.frombuffer(encoded.data, ">u2", count, start).astype(np.uint32)
    scaled = (values * 65_535 + largest // 2) // largest
    return scaled.clip(0, 65_535).astype(np.uint16).reshape(height, width, 3)


def _layout_of(tile: Any) -> str:
    """How Pillow reads the bytes of a tile, in its own words, such as `RGB;16B`."""
    layout = tile[3][0] if isinstance(tile[3], tuple) and tile[3] else tile[3]
    return layout if isinstance(layout, str) else ""


def _with_layout(tile: Any, layout: str) -> Any:
    args = (layout, *tile[3][1:]) if isinstance(tile[3], tuple) else layout
    return ImageFile._Tile(tile[0], tile[1], tile[2], args)
