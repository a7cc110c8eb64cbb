"""Records out of JSON that holds columns or rows: lists of one length, frames of pandas, tuples."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.pairs import LABEL_KEYS

Found = tuple[list[dict[str, Any]], dict[str, Any]]


def read_columns(content: Mapping[str, Any]) -> Found:
    """Records from lists of one length by column, or as pandas writes a frame; else none.

    With them what else is there, which may name the classes.
    """
    for read in (_read_split_frame, _read_lists, _read_frame):
        records, rest = read(content)
        if records:
            return records, rest
    return [], {}


def read_rows(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Records from `[path, label]` or `[path, number, name]` an image."""
    width = len(rows[0])
    if not all(isinstance(row, list) and len(row) == width for row in rows) or width < 2:
        return []
    image = next((k for k in range(width) if all(is_image_name(row[k]) for row in rows)), -1)
    if image < 0:
        return []
    rest = [k for k in range(width) if k != image]
    texts = [k for k in rest if all(isinstance(row[k], str) for row in rows)]
    if len(rest) > 1 and len(texts) != 1:
        return []
    label = (texts or rest)[0]
    return [{"image": row[image], "label": row[label]} for row in rows]


def is_image_name(cell: Any) -> bool:
    """Whether this is a text that ends like an image file."""
    return isinstance(cell, str) and os.path.splitext(cell)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122


def _read_split_frame(content: Mapping[str, Any]) -> Found:
    """Of `{"columns": [...], "index": [...], "data": [[...], ...]}`; a column has no columns."""
    data, names, index = (content.get(key) for key in ("data", "columns", "index"))
    if not isinstance(data, list):
        return [], {}
    if isinstance(names, list):
        records = [dict(zip(map(str, names), row, strict=True)) for row in data]
    elif isinstance(index, list) and all(map(is_image_name, index)):
        records = [{str(content.get("name") or "label"): cell} for cell in data]
    else:
        return [], {}
    if isinstance(index, list) and index and all(map(is_image_name, index)):
        records = [{"image": k, **row} for k, row in zip(index, records, strict=True)]
    return records, {}


def _read_lists(content: Mapping[str, Any]) -> Found:
    names = [key for key, found in content.items() if isinstance(found, (list, Mapping))]
    sizes = {key: len(content[key]) for key in names}
    for images in names:
        values = content[images]
        cells = list(values.values()) if isinstance(values, Mapping) else values
        keys = [key for key in names if sizes[key] == len(cells)]
        if len(keys) < 2 or not cells or not all(map(is_image_name, cells)):
            continue
        if isinstance(values, Mapping):
            return [{key: content[key][row] for key in keys} for row in values], {}
        if all(isinstance(content[key], list) for key in keys) and "label" in " ".join(keys):
            records = [
                {"image" if key == images else "label" if "label" in key else key: content[key][k]
                 for key in keys} for k in range(len(cells))
            ]  # fmt: skip
            return records, {key: content[key] for key in names if key not in keys}
    return [], {}


def _read_frame(content: Mapping[str, Any]) -> Found:
    """Of `{"label": {"a.png": "cat", ...}, ...}`: a frame whose index names the images."""
    columns = list(content.values())
    if not columns or not all(isinstance(cells, Mapping) and cells for cells in columns):
        return [], {}
    rows = list(columns[0])
    if any(cells.keys() != columns[0].keys() for cells in columns):
        return [], {}
    is_named = all(map(is_image_name, rows))
    is_labelled = any(str(name).lower() in LABEL_KEYS for name in content)
    if not is_named and (not is_labelled or any(map(is_image_name, content))):
        return [], {}
    is_counted = not is_named and len(columns) > 1 and rows == list(map(str, range(len(rows))))
    return [
        {**({} if is_counted else {"image": row}), **{name: content[name][row] for name in content}}
        for row in rows
    ], {}
