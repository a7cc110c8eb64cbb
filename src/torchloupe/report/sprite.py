"""Many thumbnails in one picture, so that ten thousand of them fit into a page.

Tiles lie in rows of `columns`; the page shows one as the background of a box. The picture is a
WebP, whose quality and size of tiles are chosen so that it stays below a number of bytes.
"""

import base64
import io
import math
import secrets
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchloupe.report.colours import Pixels

_QUALITIES = (80, 65, 50, 35, 20)
_SMALLEST_SIDE = 20  # a thumbnail that is smaller shows nothing
_PROBED = 256  # tiles that are encoded to see how many bytes all will take
_LONGEST_SIDE = 16_383  # of a WebP

Tiles = NDArray[np.uint8]  # [N, h, w, 3]


@dataclass(frozen=True)
class Sprite:
    """N tiles of `width` x `height` pixels in one picture, encoded."""

    encoded: bytes
    count: int
    columns: int
    width: int
    height: int

    @property
    def rows(self) -> int:
        """How many rows of tiles there are."""
        return math.ceil(self.count / self.columns)

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return f"data:image/webp;base64,{base64.b64encode(self.encoded).decode()}"


def thumbnail_size(height: int, width: int, count: int) -> tuple[int, int]:
    """(height, width) of a thumbnail: the image's own up to 64 pixels, less where there are many.

    The aspect ratio is kept.
    """
    side = 96 if count <= 1_000 else 64 if count <= 3_000 else 48 if count <= 6_000 else 40
    factor = min(1.0, side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def shrink(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """The image at (height, width), averaged over its pixels."""
    if pixels.shape[:2] == size:
        return pixels
    picture = Image.fromarray(pixels)
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BOX))


def make_sprite(tiles: Tiles, most_bytes: int) -> Sprite:
    """The tiles [N, h, w, 3] in one picture of about `most_bytes` or less.

    The best quality that fits is taken; where none does, tiles shrink.
    """
    if not len(tiles):
        return Sprite(b"", 0, 1, 1, 1)
    while True:
        quality = _choose_quality(tiles, most_bytes)
        height, width = tiles.shape[1:3]
        if quality or min(height, width) <= _SMALLEST_SIDE:
            break
        size = (max(1, height * 3 // 4), max(1, width * 3 // 4))
        tiles = np.stack([shrink(tile, size) for tile in tiles])
    columns = _columns(tiles)
    sheet = _lay_out(tiles, columns)
    encoded = _encode(sheet, quality or _QUALITIES[-1])
    return Sprite(encoded, len(tiles), columns, width, height)


def plan_sprite(tiles: Tiles) -> Sprite:
    """What `make_sprite` gives where nothing has to shrink, with random bytes for a picture."""
    _, height, width, _ = tiles.shape
    return Sprite(secrets.token_bytes(24), len(tiles), _columns(tiles), width, height)


def _choose_quality(tiles: Tiles, most_bytes: int) -> int:
    """The best quality at which a sample of the tiles promises to fit; 0 where none does."""
    step = max(1, len(tiles) // _PROBED)
    probed = tiles[::step][:_PROBED]
    sheet = _lay_out(probed, _columns(probed))
    allowed = most_bytes * len(probed) / len(tiles)
    return next((q for q in _QUALITIES if len(_encode(sheet, q)) <= 0.95 * allowed), 0)


def _columns(tiles: Tiles) -> int:
    count, height, width = tiles.shape[:3]
    even = math.ceil(math.sqrt(count * height / width))
    return int(max(1, min(even, count, _LONGEST_SIDE // width)))


def _lay_out(tiles: Tiles, columns: int) -> Pixels:
    count, height, width = tiles.shape[:3]
    rows = math.ceil(count / columns)
    sheet = np.full((rows * columns, height, width, 3), 128, dtype=np.uint8)
    sheet[:count] = tiles
    grid = sheet.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(grid.reshape(rows * height, columns * width, 3))


def _encode(sheet: Pixels, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "WEBP", quality=quality, method=2)
    return file.getvalue()
