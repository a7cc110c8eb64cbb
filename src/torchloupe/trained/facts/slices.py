"""Accuracy by properties of the images that the labels know nothing of."""

import time
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.image.decode import read_size
from torchloupe.errors import LoupeError
from torchloupe.evaluation.intervals import wilson_interval
from torchloupe.prepare.run_data import RunData
from torchloupe.trained.facts.images import ImageTable

FEWEST = 5  # images of a slice
MOST_NAMED = 10  # slices by name (groups, kinds of files)
MOST_SIZES = 2_000  # files whose header is read
SIZE_SECONDS = 3.0
Floats = NDArray[np.float64]
Row = dict[str, Any]


def slice_chart(
    right: NDArray[np.bool_], properties: Mapping[str, Floats | Sequence[str]]
) -> dict[str, Any] | None:
    """The accuracy of each slice with its 95 % interval; None where there is no slice.

    Numbers (NaN: unknown) are cut into quarters, names are slices of their own.
    """
    rows: list[Row] = []
    for name, values in properties.items():
        made = (
            _quarters(name, values, right)
            if isinstance(values, np.ndarray)
            else _by_name(name, values, right)
        )
        rows += made if len(made) > 1 else []
    if not rows:
        return None
    return {
        "kind": "intervals",
        "title": "accuracy by slice, with 95 % intervals; the line is that of all images",
        "x": {"label": "accuracy", "unit": "%"},
        "y": {"label": ""},
        "line": float(right.mean()),
        "rows": rows,
    }


def _quarters(name: str, values: Floats, right: NDArray[np.bool_]) -> list[Row]:
    known = np.isfinite(values)
    if not known.any():
        return []
    distinct = np.unique(values[known])
    if len(distinct) <= 4:
        cuts = distinct[1:]
    else:
        cuts = np.unique(np.quantile(values[known], [0.25, 0.5, 0.75]))
    place = np.searchsorted(cuts, values, side="right")
    rows = []
    for number in range(len(cuts) + 1):
        inside = known & (place == number)
        if inside.sum() >= FEWEST:
            low, high = values[inside].min(), values[inside].max()
            text = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
            rows.append(_row(name, text, right[inside]))
    return rows


def _by_name(name: str, values: Sequence[str], right: NDArray[np.bool_]) -> list[Row]:
    array = np.array(values, dtype=object)
    names, counts = np.unique(array, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_NAMED]
    return [
        _row(name, str(names[k]) or "none", right[array == names[k]])
        for k in order
        if counts[k] >= FEWEST
    ]


def _row(group: str, name: str, right: NDArray[np.bool_]) -> Row:
    hits, count = int(right.sum()), len(right)
    low, high = wilson_interval(hits, count)
    value = {"value": hits / count, "low": low, "high": high}
    return {"group": group, "name": name, "count": count, **value}


def find_properties(images: ImageTable) -> dict[str, Floats | Sequence[str]]:
    """Brightness, size, file type and group of each predicted image, as far as they are known."""
    data, rows = images.run_data, images.rows_of_places
    if data is None or images.found is None:
        return {}
    found: dict[str, Floats | Sequence[str]] = {}
    brightness = _measure_brightness(images, rows)
    if np.isfinite(brightness).any():
        found["brightness"] = brightness
    endings = [PurePosixPath(name).suffix.lower().lstrip(".") for name in images.found.ids]
    if data.source.kind not in ("arrays", "dataset") and any(endings):
        found["file type"] = endings
    sizes = measure_sizes(data, rows)
    if np.isfinite(sizes).any():
        found["shorter side in pixels"] = sizes.min(axis=1)
        found["width over height"] = np.round(sizes[:, 1] / sizes[:, 0], 2)
    if data.samples.groups is not None:
        found["group"] = [str(group) for group in data.samples.groups[rows]]
    return found


def _measure_brightness(images: ImageTable, rows: NDArray[np.int64]) -> Floats:
    """The mean of each image's pixels, from 0 (black) to 1 (white); NaN where unread."""
    seen = [images.thumbnail(int(row)) for row in rows]
    return np.array([np.nan if tile is None else float(tile.mean()) / 255 for tile in seen])


def measure_sizes(data: RunData, rows: NDArray[np.int64], most: int = MOST_SIZES) -> Floats:
    """(height, width) [N, 2] of encoded images as their headers say; NaN where not looked at.

    An even part of many files is read, for SIZE_SECONDS at most.
    """
    found = np.full((len(rows), 2), np.nan)
    if data.source.kind in ("arrays", "dataset", "stream"):
        return found
    end = time.monotonic() + SIZE_SECONDS
    for place in np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)):
        try:
            image = data.source.reader.read(int(rows[place]))
            found[place] = read_size(image) if isinstance(image, bytes) else np.nan
        except (LoupeError, OSError):
            continue
        if time.monotonic() > end:
            break
    return found
