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
from torchloupe.data.sources.label_cells import read_label_cells
from torchloupe.data.sources.lists import is_image, open_lists
from torchloupe.data.sources.pairs import IMAGE_KEYS, LABEL_KEYS
from torchloupe.data.sources.pixel_table import read_pixel_cells
from torchloupe.data.sources.side_columns import as_cells, is_missing, read_beside
from torchloupe.data.sources.source import Data, name_some
from torchloupe.data.split import TEST, TRAIN, VAL
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
    """Data from a frame with one row per image; DataError if a column's use is in doubt.

    Columns of splits, of groups and of names beside class numbers are used as those of a table.
    """
    image, label = _choose_columns(frame)
    images, labels = read_frame(frame)
    if not images:
        return open_lists([Part(TRAIN, [], [])], name=name, class_names=class_names)
    cells = {key: as_cells(_values(frame, key)) for key in _columns(frame) if key != image}
    others = {key: texts for key, texts in cells.items() if texts is not None}
    beside = read_beside(others, label, "the frame", class_names=class_names)
    order = np.arange(len(images))[beside.order]
    parts = []
    for part in (TRAIN, VAL, TEST):
        rows = order if beside.given is None else order[beside.given[order] == part]
        if part == TRAIN if beside.given is None else len(rows):
            parts.append(Part(part, [images[k] for k in rows], [labels[k] for k in rows]))
    labels = labels if beside.names is None else beside.names.tolist()
    read = None
    if all(isinstance(word, str) for word in labels):
        texts = np.array(labels, dtype=np.dtypes.StringDType())[order]
        read = read_label_cells(texts, label, "auto", class_names, "the frame")
    data = open_lists(parts, name=name, class_names=class_names, read=read)
    return beside.add_groups(data, order)


def read_frame(frame: Any) -> tuple[list[Any], list[Any]]:
    """The images and labels of a frame, as lists."""
    image, label = _choose_columns(frame)
    images, labels = read_pixel_cells(_values(frame, image)), _values(frame, label)
    wrong = next((row for row, value in enumerate(images) if not is_image(value)), None)
    if wrong is not None:
        raise DataError(
            f"the frame's column {printable(image)!r} holds {printable(images[wrong], 60)!r} in "
            f"row {wrong}, which is not an image",
            "give paths of image files, their bytes, arrays or PIL images",
        )
    wrong = next((row for row, value in enumerate(labels) if is_missing(value)), None)
    if wrong is not None:
        raise DataError(
            f"the frame's column {printable(label)!r} has no label in row {wrong}",
            "fill the cell or take the row out",
        )
    return images, _split_words(labels)


def _split_words(labels: list[Any]) -> list[Any]:
    """Labels with lists in place of texts where a bar stands between several: `cat|dog`."""
    are_texts = bool(labels) and all(isinstance(label, str) for label in labels)
    if not are_texts or not any("|" in label for label in labels):
        return labels
    return [[word.strip() for word in label.split("|") if word.strip()] for label in labels]


def _choose_columns(frame: Any) -> tuple[str, str]:
    """The columns of images and of labels."""
    columns = _columns(frame)
    image = _choose(columns, "image", (*IMAGE_KEYS, *IMAGE_COLUMNS), MORE_IMAGE_COLUMNS)
    rest = [key for key in columns if key != image]
    return image, _choose(rest, "label", (*LABEL_KEYS, *LABEL_COLUMNS), MORE_LABEL_COLUMNS)


def _columns(frame: Any) -> list[str]:
    return [str(column) for column in getattr(frame, "column_names", None) or frame.columns]


def _choose(columns: Sequence[str], what: str, usual: Sequence[str], less: Sequence[str]) -> str:
    """The column with a usual name, else with a less usual one, or the only one that is left."""
    found = [name for name in columns if name.strip().lower() in usual]
    found = found or [name for name in columns if plain_name(name) in less]
    if len(found) == 1:
        return found[0]
    if not found and what == "label" and len(columns) == 1:
        if plain_name(columns[0]) in (*IMAGE_COLUMNS, *MORE_IMAGE_COLUMNS):
            raise DataError(
                f"the frame has no column of labels: {printable(columns[0])!r} is an id or a file",
                "give a frame with a column of labels, named label",
            )
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
