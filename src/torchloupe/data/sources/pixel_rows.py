"""The columns beside the pixels of a table: labels, the split, groups and names of classes.

They are read as those of a table of paths are.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.sources.arrays import ReadLabels
from torchloupe.data.sources.column_names import surely_names_groups
from torchloupe.data.sources.column_roles import (
    IMAGE_COLUMNS,
    MORE_IMAGE_COLUMNS,
    choose_label_columns,
    plain_name,
)
from torchloupe.data.sources.columns import Table, as_texts
from torchloupe.data.sources.label_cells import read_label_cells, refuse_blank
from torchloupe.data.sources.name_lists import name_numbers
from torchloupe.data.sources.pixel_table import label_candidates, open_pixels
from torchloupe.data.sources.side_columns import (
    Beside,
    SideRoles,
    find_side_roles,
    read_side_roles,
)
from torchloupe.data.sources.source import Data, name_some
from torchloupe.data.sources.split_roles import find_split_columns
from torchloupe.errors import DataError, printable


def open_pixel_rows(
    table: Table,
    pixels: Sequence[str],
    *,
    label_column: str = "auto",
    label_separator: str = "auto",
    split_column: str = "auto",
    layout: str = "auto",
    class_names: Sequence[str] = (),
) -> Data:
    """Data from a table of `pixels`, each row an image, and from the columns beside them.

    DataError for a table without a label, with several, or with none in a row.
    """
    shown = printable(table.path)
    label, roles = _find_roles(table, pixels, label_column, split_column)
    read = table.read(list(dict.fromkeys([label, *roles.columns])))
    if not read.num_rows:
        raise DataError(f"{shown} lists no image", "add one row per image below the header")
    texts = {name: np.strings.strip(as_texts(read[name], name)) for name in read.column_names}
    refuse_blank(texts[label], label, shown)
    if label_column == "auto":
        _refuse_ids(texts[label], label, table)
    beside = read_side_roles(roles, texts, label, shown)
    labels = _read_labels(texts[label], beside, label, label_separator, class_names, table)
    return open_pixels(table, pixels, labels, beside, layout=layout)


def _find_roles(
    table: Table, pixels: Sequence[str], asked: str, split_column: str
) -> tuple[str, SideRoles]:
    """The column of labels, and what others are for."""
    rest = label_candidates(table, pixels)
    split = find_split_columns(table, pixels[0], asked, split_column)
    beside = {name: table.preview[name] for name in rest if name in table.preview}
    asked_for = asked if asked in rest else ""
    grouped = find_side_roles(beside, asked_for, str(table.path), "none").groups
    taken = [*pixels, *split.names]
    try:
        found = choose_label_columns(table, asked, pixels[0], [*taken, *grouped])
    except DataError:  # one that may be of groups may be the label, too
        sure = [name for name in grouped if surely_names_groups(plain_name(name))]
        found = choose_label_columns(table, asked, pixels[0], [*taken, *sure])
    if len(found) > 1:
        raise DataError(
            f"{printable(table.path)} holds pixels beside {len(found)} columns of labels: "
            f"{name_some(found)}",
            "say which column holds the label: data.label_column=NAME",
        )
    label = found[0]
    own = [name for name in split.names if name in rest and name != label]
    doubtful = [name for name in split.doubtful if name in rest and name != label]
    split = replace(split, names=tuple(own), doubtful=tuple(doubtful))
    named = find_side_roles(beside, label, str(table.path), "none").named
    named = "" if named in (*own, *doubtful, *grouped) else named
    return label, SideRoles(split, [name for name in grouped if name != label], named)


def _refuse_ids(texts: NDArray[Any], label: str, table: Table) -> None:
    """DataError where the only column beside the pixels is an id, as in tables of test images."""
    is_id = plain_name(label) in (*IMAGE_COLUMNS, *MORE_IMAGE_COLUMNS)
    if is_id and len(texts) > 1 and len(np.unique(texts)) == len(texts):
        raise DataError(
            f"{printable(table.path)} has no column of labels: beside the pixels there is only "
            f"{printable(label)!r}, which differs in each row",
            "give the table with the labels; if this is the label, data.label_column="
            f"{printable(label)}",
        )


def _read_labels(
    texts: NDArray[Any],
    beside: Beside,
    label: str,
    separator: str,
    class_names: Sequence[str],
    table: Table,
) -> ReadLabels:
    """Labels, class names and notes; numbers are named by a list beside, or by a column."""
    notes: list[str] = []
    if not class_names:
        plain, notes = name_numbers(texts, table.path, label)
        texts = beside.names if beside.names is not None and not notes else plain
    labels, classes, more = read_label_cells(
        texts, label, separator, class_names, printable(table.path)
    )
    return labels, classes, (*notes, *more)
