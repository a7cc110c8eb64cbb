"""Which columns of a table hold the images, the labels and the split.

A column that was asked for is taken. Else a usual name decides, then what the first rows hold, then
what is left over; where more than one would do, nothing is guessed.
"""

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.column_names import (
    NAME_COLUMNS,
    names_groups,
)
from torchloupe.data.sources.columns import Table
from torchloupe.data.sources.flags import holds_flags, read_flags
from torchloupe.data.sources.image_cells import are_images
from torchloupe.data.sources.object_cells import holds_unread
from torchloupe.data.sources.rivals import find_rivals
from torchloupe.data.sources.source import name_some
from torchloupe.data.sources.split_names import is_filler, read_split, read_split_name
from torchloupe.errors import DataError, UsageError, did_you_mean, printable

IMAGE_COLUMNS = ("image", "path", "file", "filename", "filepath", "file_name", "image_path", "img")
LABEL_COLUMNS = ("label", "class", "category", "target", "labels", "class_name")
# Less usual: taken where no column has a name of those above.
MORE_IMAGE_COLUMNS = (
    *("image_id", "image_name", "id_code", "image_file", "image_filename", "image_index"),
    *("filenames", "filepaths", "file_path", "file_paths", "img_path", "img_name", "img_id"),
    *("img_file", "imageid", "imagename", "imagepath", "fname", "photo", "picture", "uuid", "id"),
    *("source_ref", "images", "image_ids", "files", "bild", "imagen", "imagem", "immagine"),
)
MORE_LABEL_COLUMNS = (
    *("class_id", "classid", "class_label", "label_name", "labelname", "classname", "class_names"),
    *("category_name", "category_id", "tags", "tag", "diagnosis", "breed", "species", "dx"),
    *("finding_labels", "emotion", "disease", "y", "cls", "ground_truth", "gt", "choice"),
    *("gt_label", "label_group", "diagnostic", "diagnose", "pathology"),
    *("landmark_id", "klasse", "clase", "classe", "etiqueta", "etiquette"),
    *("annotations", "file_attributes", "region_attributes"),
)
_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+]*://", re.IGNORECASE)
_HASH = re.compile("[0-9a-f]{1,3}")  # folders that many files are spread over

Resolves = Callable[[NDArray[Any]], float]


def plain_name(column: str) -> str:
    """A column's name in lower case, with words joined by `_`: `Finding Labels`, `ClassId`."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column.strip())
    return re.sub(r"[^0-9a-z]+", "_", spaced.lower()).strip("_")


def is_row_number(table: Table, column: str) -> bool:
    """Whether a column has no name of its own and counts the rows, as pandas writes its index."""
    if not re.fullmatch(
        r"|unnamed(_\d+)*|index(_level_0)?|level_0|column_1|row|no|nr", plain_name(column)
    ):
        return False
    values = table.preview.get(column)
    if values is None or not len(values):
        return not column
    if not column:
        return all(map(str.isdigit, values.tolist()))
    first = values[0]
    return first in ("0", "1") and values.tolist() == [
        str(number + int(first)) for number in range(len(values))
    ]


def choose_image_column(table: Table, asked: str, resolves: Resolves) -> str:
    """The column of images; `resolves` is the share of some names for which a file is found.

    DataError where the ids of two columns are names of files, and not of the same.
    """
    if asked != "auto":
        return asked_for(table, "image", asked)
    chosen = _choose_image_column(table, resolves)
    cells = table.preview.get(chosen)
    able = [] if cells is None or are_images(cells) else find_rivals(table, chosen)
    if cells is None or not able:
        return chosen
    is_found = resolves(cells[:50]) > 0.5
    if is_found and _holds_image_names(cells):
        return chosen
    rivals = [name for name in able if resolves(table.preview[name][:50]) > 0.5]
    if is_found and rivals:
        raise DataError(
            f"{printable(table.path)}: the cells of {name_some([chosen, *rivals])} are all names "
            "of files, and each column names others",
            f"say which: data.image_column={printable(rivals[0])}",
        )
    worded = [name for name in rivals if not _are_plain_numbers(table.preview[name].tolist())]
    return worded[0] if len(worded) == 1 and not is_found else chosen


def _are_plain_numbers(cells: Sequence[str]) -> bool:
    """Whether cells are numbers, none of which has zeros before it as names of files have."""
    return all(cell.isdigit() and (cell[0] != "0" or cell == "0") for cell in cells)


def _choose_image_column(table: Table, resolves: Resolves) -> str:
    columns = [name for name in table.columns if not is_row_number(table, name)]
    if usual := _first_of(IMAGE_COLUMNS, columns, str.lower):
        return usual
    cells = {name: table.preview.get(name) for name in columns}
    images = [name for name in columns if _holds_image_names(cells[name])]
    listed = [name for name in images if not _holds_addresses(cells[name])]
    listed = listed or [name for name in columns if are_images(cells[name])]
    if len(listed) > 1:
        listed = [name for name in listed if resolves(table.preview[name][:50]) > 0.5] or listed
    if len(listed) == 1:
        return listed[0]
    if usual := _first_of(MORE_IMAGE_COLUMNS, listed or columns, plain_name):
        return usual
    found = [
        name
        for name in columns
        if name in table.preview
        and name.lower() not in LABEL_COLUMNS
        and resolves(table.preview[name][:50]) > 0.5
    ]
    # An index of numbers comes last, after which files may be called.
    is_index = "" in table.preview and resolves(table.preview[""][:50]) > 0.5
    if len(found := found or images or [""] * is_index) == 1:
        return found[0]
    if len(columns) == 2 and not listed:
        first, second = columns
        labels = (*LABEL_COLUMNS, *MORE_LABEL_COLUMNS)
        return second if plain_name(first) in labels else first
    raise _not_surely(table, "image")


def find_group_columns(table: Table, image: str) -> list[str]:
    """The columns that say which images are of one patient, subject or the like; `group` first."""
    found = [n for n in table.columns if n != image and names_groups(plain_name(n))]
    return sorted(found, key=lambda name: name.lower() != "group")


def find_name_column(table: Table, labelled: Sequence[str], taken: Sequence[str]) -> str:
    """The column that may name the classes which a column of labels numbers; "" for none."""
    cells = table.preview.get(labelled[0]) if len(labelled) == 1 else None
    if cells is None or not all(cell.isdigit() for cell in cells.tolist()):
        return ""
    names = [n for n in table.columns if n not in (*labelled, *taken) and n in table.preview]
    return next((name for name in names if plain_name(name) in NAME_COLUMNS), "")


def lists_files(table: Table, besides: Sequence[str], resolves: Resolves) -> bool:
    """Whether a column not in `besides` holds names or ids of images that are there."""
    usual = (*IMAGE_COLUMNS, *MORE_IMAGE_COLUMNS)
    able = [name for name in table.columns if name not in besides and plain_name(name) in usual]
    found = [table.preview[name][:50] for name in able if name in table.preview]
    return any(resolves(values) > 0.5 for values in found)


def choose_label_columns(table: Table, asked: str, image: str, taken: Sequence[str]) -> list[str]:
    """The column of labels, or several of 0 and 1, as "a,b,c" asks for or all that is left are.

    `taken` are the columns that are something else. Where no column is left, it is that of the
    images if the folders in their paths may be classes.
    """
    if asked != "auto":
        names = [name.strip() for name in asked.split(",")]
        if asked in table.columns or len(names) == 1:
            return [asked_for(table, "label", asked)]
        if unknown := [name for name in names if name not in table.columns]:
            raise UsageError(
                f"{printable(table.path)} has no column {name_some(unknown)} (data.label_column)",
                did_you_mean(unknown[0], table.columns),
            )
        return list(dict.fromkeys(names))
    taken = [image, *taken]
    columns = [n for n in table.columns if n not in taken and not is_row_number(table, n)]
    columns = [name for name in columns if not _is_empty(table.preview.get(name))] or columns
    columns = [n for n in columns if not _holds_addresses(table.preview.get(n))] or columns
    if unread := {name for name in columns if holds_unread(table.preview.get(name))}:
        named = {n for n in columns if plain_name(n) in (*LABEL_COLUMNS, *MORE_LABEL_COLUMNS)}
        columns = [n for n in columns if (n in unread) == (named != set() and named <= unread)]
    for plain in (str.lower, plain_name):
        if usual := _first_of(LABEL_COLUMNS, columns, plain):
            return [usual]
    flags = [name for name in columns if holds_flags(table.preview.get(name))]
    if len(flags) > 1 and flags == columns:
        rows = np.stack([read_flags(table.preview[name]) for name in flags])
        if (rows.sum(axis=0) == 1).all() or table.path.stem.lower() == "_classes":
            return flags
    if usual := _first_of(MORE_LABEL_COLUMNS, columns, plain_name):
        return [usual]
    if not columns and holds_class_folders(table.preview.get(image)):
        columns = [image]
    if len(columns) == 1:
        return columns
    if not columns:
        raise DataError(
            f"{printable(table.path)} has no column of labels: its columns are "
            f"{name_some(table.columns, 12)}",
            "to label its images with a trained model: loupe predict RUN FOLDER",
        )
    flags = [name for name in columns if holds_flags(table.preview.get(name), may_be_blank=True)]
    several = ",".join(flags) if len(flags) > 1 else ""
    raise _not_surely(table, "label", f"data.label_column={several}" if several else "")


def holds_class_folders(values: NDArray[Any] | None) -> bool:
    """Whether cells are paths whose last folders are several and may be classes: `cat/1.jpg`.

    They lie in one folder, or in one for each split: not in that of a patient.
    """
    if values is None or not _holds_image_names(values):
        return False
    folders = set(folders_of(values.tolist()))
    parts = [path.replace("\\", "/").split("/")[:-2] for path in values.tolist()]
    if len({tuple(name for name in names if read_split(name) is None) for names in parts}) > 1:
        return False
    if all(map(_HASH.fullmatch, folders)) and not all(map(str.isdigit, folders)):
        return False
    return 1 < len(folders) <= len(values) / 2 and not any(
        is_filler(name) or read_split_name(name) is not None for name in folders
    )


def folders_of(paths: Sequence[str]) -> list[str]:
    """The last folder of each path, "" for a name alone."""
    return [path.replace("\\", "/").rpartition("/")[0].rpartition("/")[2] for path in paths]


def _is_empty(values: NDArray[Any] | None) -> bool:
    """Whether no cell says anything."""
    return values is not None and bool(np.isin(values, np.array(["", "{}", "[]"])).all())


def _holds_addresses(values: NDArray[Any] | None) -> bool:
    """Whether cells are addresses, as `https://host/1.jpg`."""
    if values is None or not len(values):
        return False
    return all(_ADDRESS.match(value) for value in values[:50].tolist())


def _holds_image_names(values: NDArray[Any] | None) -> bool:
    """Whether nine of ten cells end like image files."""
    if values is None or not len(values):
        return False
    endings = [os.path.splitext(value)[1].lower() for value in values[:50].tolist()]  # noqa: PTH122
    return sum(ending in IMAGE_SUFFIXES for ending in endings) >= 0.9 * len(endings)


def _first_of(
    usual: Sequence[str], columns: Sequence[str], plain: Callable[[str], str]
) -> str | None:
    lower = {plain(name): name for name in reversed(columns)}
    return next((lower[name] for name in usual if name in lower), None)


def asked_for(table: Table, what: str, asked: str) -> str:
    """The column `asked` for as data.`what`_column; UsageError if there is none."""
    if asked in table.columns:
        return asked
    raise UsageError(
        f"{printable(table.path)} has no column {printable(asked)!r} (data.{what}_column)",
        did_you_mean(asked, table.columns),
    )


def _not_surely(table: Table, what: str, hint: str = "") -> DataError:
    return DataError(
        f"{printable(table.path)} has no column that is surely the {what}: its columns are "
        f"{name_some(table.columns, 12)}",
        f"say which: {hint or f'data.{what}_column=NAME'}",
    )
