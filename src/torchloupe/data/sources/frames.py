"""Data frames: pandas, polars and Arrow tables with a column of images and one of labels.

Images are paths, bytes, arrays or PIL images; a column `split` is used if it is there.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from torchloupe.data.sources.arrays import Part
from torchloupe.data.sources.column_roles import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    MORE_IMAGE_COLUMNS,
    MORE_LABEL_COLUMNS,
    plain_name,
)
from torchloupe.data.sources.lists import is_image, open_lists
from torchloupe.data.sources.pairs import IMAGE_KEYS, LABEL_KEYS
from torchloupe.data.sources.source import SPLIT_WORDS, Data, name_some
from torchloupe.data.split import TRAIN
from torchloupe.errors import DataError, printable


def is_frame(value: Any) -> bool:
    """Whether this is a table in memory, of pandas, polars or Arrow."""
    if isinstance(value, type):
        return False
    is_arrow = hasattr(value, "column_names") and hasattr(value, "to_pydict")
    return is_arrow or (
        hasattr(value, "columns") and (hasattr(value, "iloc") or hasattr(value, "to_arrow"))
    )


def open_frame(frame: Any, *, name: str, class_names: Sequence[str] = ()) -> Data:
    """Data from a frame with one row per image; DataError if a column's use is in doubt."""
    images, labels = read_frame(frame)
    key = next((key for key in _columns(frame) if key.lower() == "split"), None)
    if key is None:
        return open_lists([Part(TRAIN, images, labels)], name=name, class_names=class_names)
    words = [str(word).strip().lower() for word in _values(frame, key)]
    unknown = sorted({word for word in words if word not in SPLIT_WORDS})
    if unknown:
        raise DataError(
            f"the frame's column {printable(key)!r} holds {name_some(unknown)}",
            "its cells are train, val or test; rename the column if it means something else",
        )
    parts: dict[int, Part] = {
        part: Part(part, [], []) for part in sorted(set(SPLIT_WORDS.values()))
    }
    for image, label, word in zip(images, labels, words, strict=True):
        parts[SPLIT_WORDS[word]].images.append(image)
        parts[SPLIT_WORDS[word]].labels.append(label)
    found = [part for part in parts.values() if part.images]
    return open_lists(found, name=name, class_names=class_names)


def read_frame(frame: Any) -> tuple[list[Any], list[Any]]:
    """The images and labels of a frame, as lists."""
    columns = _columns(frame)
    image = _choose(columns, "image", (*IMAGE_KEYS, *IMAGE_COLUMNS), MORE_IMAGE_COLUMNS)
    rest = [key for key in columns if key != image]
    label = _choose(rest, "label", (*LABEL_KEYS, *LABEL_COLUMNS), MORE_LABEL_COLUMNS)
    images, labels = _values(frame, image), _values(frame, label)
    wrong = next((row for row, value in enumerate(images) if not is_image(value)), None)
    if wrong is not None:
        raise DataError(
            f"the frame's column {printable(image)!r} holds {printable(images[wrong], 60)!r} in "
            f"row {wrong}, which is not an image",
            "give paths of image files, their bytes, arrays or PIL images",
        )
    wrong = next((row for row, value in enumerate(labels) if _is_missing(value)), None)
    if wrong is not None:
        raise DataError(
            f"the frame's column {printable(label)!r} has no label in row {wrong}",
            "fill the cell or take the row out",
        )
    return images, labels


def _columns(frame: Any) -> list[str]:
    return [str(column) for column in getattr(frame, "column_names", None) or frame.columns]


def _choose(columns: Sequence[str], what: str, usual: Sequence[str], less: Sequence[str]) -> str:
    """The column with a usual name, else with a less usual one, or the only one that is left."""
    found = [name for name in columns if name.strip().lower() in usual]
    found = found or [name for name in columns if plain_name(name) in less]
    if len(found) == 1:
        return found[0]
    if not found and what == "label" and len(columns) == 1:
        return columns[0]
    which = f"several columns may be the {what}" if found else f"no column is surely the {what}"
    raise DataError(
        f"of the frame's columns {name_some(found or columns, 12)} {which}",
        f"give a frame whose columns are image and label; rename the one that is the {what}",
    )


def _values(frame: Any, column: str) -> list[Any]:
    values = frame[column]
    for method in ("to_pylist", "tolist", "to_list"):
        if hasattr(values, method):
            return list(getattr(values, method)())
    return list(values)


def _is_missing(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))
