"""Columns and frames of pixels of pandas and polars, as arrays and lists."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from torchloupe.data.sources.column_roles import IMAGE_COLUMNS, LABEL_COLUMNS, plain_name
from torchloupe.data.sources.frame_index import ColumnFrame, read_index
from torchloupe.data.sources.lists import is_image
from torchloupe.data.sources.pixel_order import order_pixels
from torchloupe.errors import UsageError

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
    """A column as an array of numbers or a list, an array of images of several sizes as a list, a
    frame of pixels as images, or as (images, labels) if it has a label column; these in tuples,
    lists and dicts, too; all else as it is.
    """
    _refuse_lazy(value)
    if isinstance(value, np.ndarray):
        return _read_images(value) if value.dtype.kind in "OUT" else value
    if hasattr(value, "to_numpy") and (hasattr(value, "columns") or _is_column(value)):
        return _read_column(value) if _is_column(value) else _read_frame(value)
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


def _refuse_lazy(value: Any) -> None:
    """UsageError for a frame that is a query of polars, Dask or Spark."""
    package = type(value).__module__.partition(".")[0]
    kind = type(value).__name__
    run = {"polars": "collect", "dask": "compute", "dask_expr": "compute", "pyspark": "toPandas"}
    is_lazy = kind == "LazyFrame" if package == "polars" else kind == "DataFrame"
    if package in run and is_lazy:
        raise UsageError(
            f"a {kind} of {package} is a query that has not been run",
            f"give what it results in: frame.{run[package]}()",
        )


def _is_column(value: Any) -> bool:
    return type(value).__name__ in _COLUMNS


def _read_column(column: Any) -> Any:
    array = column.to_numpy()
    return array if array.dtype.kind in "biuf" else list(array)


def _read_frame(frame: Any) -> Any:
    """A frame whose columns are the pixels of square grey images as these images; with columns
    beside the pixels and the label as a ColumnFrame, as any frame whose index says something.
    """
    index = read_index(frame)
    names = [str(name) for name in frame.columns]
    others = {name: frame[key] for name, key in zip(names, frame.columns, strict=True)}
    as_it_is = ColumnFrame(others | index) if index and len(others) == len(names) else frame
    pixels = [place for place, name in enumerate(names) if _PIXEL.fullmatch(name)]
    side = math.isqrt(len(pixels))
    if len(pixels) < _FEWEST_PIXELS or side**2 != len(pixels):
        return as_it_is
    places = {names[place]: place for place in pixels}
    ordered = [places[name] for name in order_pixels(list(places))]
    table = frame[[frame.columns[place] for place in ordered]].to_numpy()
    if len(ordered) < len(pixels) or table.dtype.kind not in "biuf":  # of one name, or texts
        return as_it_is
    images = table.reshape(-1, side, side)
    beside = {name: column for name, column in others.items() if name not in places} | index
    if not beside:
        return images
    labels = [name for name in beside if name.lower() in LABEL_COLUMNS]
    if len(beside) == len(labels) == 1:
        return images, as_plain(beside[labels[0]])
    is_listed = any(plain_name(name) in IMAGE_COLUMNS for name in beside)
    if is_listed or 2 * len(pixels) < len(names):  # the numbers are something else
        return as_it_is
    return ColumnFrame({"image": list(images), **beside})


def _read_images(array: Any) -> Any:
    """An array of objects or texts as a list where each is an image, or the path of one."""
    if array.ndim != 1 or not len(array) or not is_image(array[0]):
        return array
    images = array.tolist()
    return images if all(map(is_image, images)) else array
