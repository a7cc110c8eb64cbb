"""Columns and frames of pixels of pandas and polars, as arrays and lists."""

import math
import re
from collections.abc import Mapping
from typing import Any

from torchloupe.data.sources.column_roles import LABEL_COLUMNS
from torchloupe.data.sources.pixel_order import order_pixels

_COLUMNS = ("Series", "Categorical", "Index", "CategoricalIndex")
_FEWEST_PIXELS = 16
_MOST_PARTS = 6  # (x, y, x, y, x, y)
_DEEPEST = 3
_AXIS = "(r|row|c|col|x|y|i|j)"
_PIXEL = re.compile(
    rf"(pixel|px|p)?[-_ ]?\d+([x_]\d+)?|att\d+|v\d+|{_AXIS}[-_ ]?\d+[-_ ]?{_AXIS}[-_ ]?\d+",
    re.IGNORECASE,
)


def as_plain(value: Any, depth: int = 0) -> Any:
    """A column as an array of numbers or a list, a frame of pixels as images, or as (images,
    labels) if it has a label column; these in tuples, lists and dicts, too; all else as it is.
    """
    if type(value).__name__ in _COLUMNS and hasattr(value, "to_numpy"):
        array = value.to_numpy()
        return array if array.dtype.kind in "biuf" else list(array)
    if hasattr(value, "columns") and hasattr(value, "to_numpy"):
        return _read_frame(value)
    if depth >= _DEEPEST:
        return value
    if isinstance(value, Mapping):
        found = {key: as_plain(inner, depth + 1) for key, inner in value.items()}
        return found if any(found[key] is not inner for key, inner in value.items()) else value
    if isinstance(value, (tuple, list)) and len(value) <= _MOST_PARTS:
        parts = [as_plain(inner, depth + 1) for inner in value]
        is_same = all(new is old for new, old in zip(parts, value, strict=True))
        return value if is_same else tuple(parts) if isinstance(value, tuple) else parts
    return value


def _read_frame(frame: Any) -> Any:
    """A frame whose columns are the pixels of square grey images; else the frame itself."""
    names = [str(name) for name in frame.columns]
    labels = [name for name in names if name.lower() in LABEL_COLUMNS]
    pixels = [place for place, name in enumerate(names) if _PIXEL.fullmatch(name)]
    side = math.isqrt(len(pixels))
    if len(pixels) < _FEWEST_PIXELS or side**2 != len(pixels) or len(labels) > 1:
        return frame
    if len(pixels) + len(labels) < len(names):
        return frame
    places = {names[place]: place for place in pixels}
    ordered = [places[name] for name in order_pixels(list(places))]
    if len(ordered) < len(pixels):  # of one name
        return frame
    table = frame[[frame.columns[place] for place in ordered]].to_numpy()
    if table.dtype.kind not in "biuf":
        return frame
    images = table.reshape(-1, side, side)
    return (images, as_plain(frame[labels[0]])) if labels else images
