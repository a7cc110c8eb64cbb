"""Tables with the images in their cells: encoded files as base64, with or without `data:image/...`.

Nothing is fetched: an address in a cell stays text.
"""

import base64
import binascii
import re
from typing import Any

from numpy.typing import NDArray

from torchloupe.data.image.formats import MAX_BYTES, ImageError, begins_an_image
from torchloupe.units import format_bytes

_LEAST_LETTERS = 48  # of a picture; names and ids are shorter or hold other signs
_LOOKED_AT = 20
_HEAD_LETTERS = 128
_DECLARED = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,")
_MOST_LETTERS = MAX_BYTES // 3 * 4 + 256


def are_images(cells: NDArray[Any] | None) -> bool:
    """Whether the first cells are images as base64, as far as their first bytes tell."""
    if cells is None or not len(cells):
        return False
    return all(_is_image(str(cell)) for cell in cells[:_LOOKED_AT].tolist())


def _is_image(cell: str) -> bool:
    start = cell[: _HEAD_LETTERS + 64].strip()
    plain = _DECLARED.sub("", start, count=1)
    if len(plain) < _LEAST_LETTERS:
        return False
    try:
        return begins_an_image(base64.b64decode(_cut(plain), validate=True))
    except (binascii.Error, ValueError):
        return False


def _cut(text: str) -> str:
    """The beginning of a text of base64, of whole bytes, with the usual letters."""
    usual = re.sub(r"\s", "", text).translate(_USUAL).rstrip("=")
    return usual[: min(len(usual), _HEAD_LETTERS) // 4 * 4]


_USUAL = str.maketrans("-_", "+/")


class CellReader:
    """Images in the cells of one column."""

    def __init__(self, cells: NDArray[Any]) -> None:
        """`cells` [N] are texts."""
        self._cells = cells

    def read(self, row: int) -> bytes:
        """The bytes of the image of `row`."""
        cell = str(self._cells[row])
        if len(cell) > _MOST_LETTERS:
            raise ImageError(f"{format_bytes(len(cell))} of base64 are too large for an image")
        plain = re.sub(r"\s", "", _DECLARED.sub("", cell.strip(), count=1)).translate(_USUAL)
        try:
            return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise ImageError("the cell is no image as base64") from None
