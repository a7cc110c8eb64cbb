"""The order of pixels that are columns of a table, by the numbers in their names.

Columns may stand in the order of texts (`pixel1`, `pixel10`, `pixel2`), which scrambles images.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NAME = re.compile(r"(\D*|.*?\D)(\d+)(?:(\D{1,8})(\d+))?")
_DOWN = ("r", "row", "y", "i", "h")  # how people call the row of a pixel, and its column
_ACROSS = ("c", "col", "column", "x", "j", "w")


@dataclass(frozen=True)
class PixelName:
    """A column's name, cut up: `r0c12` are the texts r and c, and the numbers 0 and 12."""

    texts: tuple[str, str]
    numbers: tuple[int, ...]


def read_pixel_name(name: str) -> PixelName | None:
    """A name that ends in a number, or in two with a short text between them; else None."""
    found = _NAME.fullmatch(name.strip())
    if found is None:
        return None
    numbers = tuple(int(number) for number in (found[2], found[4]) if number is not None)
    return PixelName((found[1].lower(), (found[3] or "").lower()), numbers)


def order_pixels(names: Sequence[str]) -> list[str]:
    """Names in the order of their numbers, where these count all pixels from 0 or 1; else as given.

    Two numbers are a row and a column, unless their names (`x3y0`) or the order say otherwise.
    """
    read = [found for name in names if (found := read_pixel_name(name)) is not None]
    if len(read) < len(names) or len({found.texts for found in read}) != 1:
        return list(names)
    numbers: list[tuple[int, ...]] = [found.numbers for found in read]
    if len({pair[0] for pair in numbers}) == 1:  # v2_pixel17
        numbers = [pair[1:] or pair for pair in numbers]
    if not _are_all(numbers):
        return list(names)
    if len(numbers[0]) == 2:
        words = [(re.findall("[a-z]+", text) or [""])[-1] for text in read[0].texts]
        flipped = [pair[::-1] for pair in numbers]
        is_across_first = words[0] in _ACROSS and words[1] in _DOWN
        is_down_first = words[0] in _DOWN and words[1] in _ACROSS
        if is_across_first or (flipped == sorted(flipped) and not is_down_first):
            numbers = flipped
    return [name for _, name in sorted(zip(numbers, names, strict=True))]


def _are_all(numbers: Sequence[tuple[int, ...]]) -> bool:
    """Whether each number, or each pair of two, from 0 or 1 on is there once."""
    count = 1
    for axis in zip(*numbers, strict=True):
        found = sorted(set(axis))
        if found[0] > 1 or found != list(range(found[0], found[0] + len(found))):
            return False
        count *= len(found)
    return count == len(numbers) == len(set(numbers))
