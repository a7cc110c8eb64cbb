"""Pictures of an evaluation: the confusion matrix, and the images that were classified wrongly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from torchloupe.errors import printable
from torchloupe.report.colours import Pixels, enlarge, to_colours

MOST_CLASSES = 200  # of a confusion matrix that can still be read
_NAMED_CLASSES = 60  # up to which the rows bear names
_EDGE, _LABELS, _LETTERS = 24, 190, 22
_TILE, _GAP, _COLUMNS, _CAPTION = 160, 16, 6, 54
_INK, _PALE = "#1c2430", "#6b7685"


@dataclass(frozen=True)
class Mistake:
    """One image, its label, and what the model said with which confidence."""

    pixels: Pixels
    label: str
    prediction: str
    confidence: float


def draw_confusion(counts: NDArray[np.int64], names: Sequence[str]) -> Pixels:
    """The matrix [K, K] as a picture: rows are true classes, brightness the share of a row."""
    classes = len(names)
    cell = max(4, min(64, 1200 // classes))
    left = _EDGE + (_LABELS if classes <= _NAMED_CLASSES else 0)
    top = _EDGE + 2 * _LETTERS
    side = classes * cell
    page = Image.new("RGB", (left + side + _EDGE, top + side + _EDGE + _LETTERS), "white")
    pen = ImageDraw.Draw(page)
    _write(pen, _EDGE, _EDGE - 6, "rows: labels; columns, in the same order: predictions", 15)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cells = to_colours(shares).repeat(cell, axis=0).repeat(cell, axis=1)
    page.paste(Image.fromarray(cells), (left, top))
    size = max(8, min(15, cell - 2))
    for row, name in enumerate(names):
        if classes <= _NAMED_CLASSES:
            _write(pen, _EDGE, top + row * cell + (cell - size) // 2 - 1, _shorten(name), size)
        for column in np.flatnonzero(counts[row]) if cell >= 28 else ():
            ink = _INK if shares[row, column] > 0.6 else "white"
            place = (left + (column + 0.5) * cell, top + (row + 0.5) * cell)
            number = str(counts[row, column])
            pen.text(place, number, fill=ink, font=_font(13), anchor="mm")
    return np.asarray(page)


def draw_mistakes(mistakes: Sequence[Mistake]) -> Pixels:
    """The images with `label -> prediction` and the confidence under each."""
    columns = min(_COLUMNS, max(1, len(mistakes)))
    rows = -(-len(mistakes) // columns)
    width = 2 * _EDGE + columns * (_TILE + _GAP) - _GAP
    page = Image.new("RGB", (width, 2 * _EDGE + rows * (_TILE + _CAPTION)), "white")
    pen = ImageDraw.Draw(page)
    for number, mistake in enumerate(mistakes):
        left = _EDGE + number % columns * (_TILE + _GAP)
        top = _EDGE + number // columns * (_TILE + _CAPTION)
        page.paste(Image.fromarray(enlarge(mistake.pixels, _TILE, _TILE)), (left, top))
        _write(pen, left, top + _TILE + 4, f"label: {_shorten(mistake.label, 16)}", 13)
        prediction = _shorten(mistake.prediction, 12)
        words = f"model: {prediction} ({100 * mistake.confidence:.0f} %)"
        _write(pen, left, top + _TILE + 22, words, 13, _PALE)
    return np.asarray(page)


def _write(
    pen: ImageDraw.ImageDraw, x: float, y: float, text: str, size: int, ink: str = _INK
) -> None:
    pen.text((x, y), text, fill=ink, font=_font(size))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _shorten(name: str, most: int = _LETTERS) -> str:
    """A name in letters that Pillow's font has; others are escapes."""
    return printable(name.encode("latin-1", "backslashreplace").decode("latin-1"), most)
