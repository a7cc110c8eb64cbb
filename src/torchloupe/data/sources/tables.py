"""Tables with a row an image: `.csv`, `.tsv` and `.parquet`, with a column of labels.

Cells are read as text, so that a label 007 stays 007. Paths are relative to the table's folder;
where they lead is the user's own choice.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from torchloupe.data.samples import Samples
from torchloupe.data.sources.column_names import surely_names_groups
from torchloupe.data.sources.column_roles import (
    choose_image_column,
    choose_label_columns,
    find_group_columns,
    find_name_column,
    lists_files,
    plain_name,
)
from torchloupe.data.sources.columns import Table, as_texts
from torchloupe.data.sources.image_files import ImageFiles
from torchloupe.data.sources.label_cells import refuse_blank
from torchloupe.data.sources.labels import compare_splits
from torchloupe.data.sources.matlab import MATLAB_ENDINGS
from torchloupe.data.sources.no_classes import hint_for_no_images
from torchloupe.data.sources.pixel_rows import open_pixel_rows
from torchloupe.data.sources.pixel_table import find_pixel_columns
from torchloupe.data.sources.presence import find_presence_column, join_rows
from torchloupe.data.sources.records import RECORD_ENDINGS
from torchloupe.data.sources.row_groups import note_possible_groups, read_groups
from torchloupe.data.sources.source import (
    Data,
    FileReader,
    name_some,
    short_name,
)
from torchloupe.data.sources.split_column import count_splits, is_numbered, read_split_columns
from torchloupe.data.sources.split_names import read_split_name
from torchloupe.data.sources.split_paths import read_split_paths
from torchloupe.data.sources.split_roles import SplitColumns, find_split_columns
from torchloupe.data.sources.table_images import read_images, refuse_lost_classes
from torchloupe.data.sources.table_labels import read_table_labels
from torchloupe.data.sources.text_lists import LIST_ENDINGS
from torchloupe.data.sources.walk import holds_images
from torchloupe.data.split import TRAIN
from torchloupe.errors import DataError, UsageError, printable
from torchloupe.units import plural

TABLE_ENDINGS = (
    *(".csv", ".tsv", ".parquet"),
    *(*LIST_ENDINGS, *RECORD_ENDINGS, *MATLAB_ENDINGS),
)


@dataclass(frozen=True)
class TableOptions:
    """How a table is to be read: the settings of the same names."""

    image_column: str = "auto"
    label_column: str = "auto"
    label_separator: str = "auto"
    image_folder: str = "auto"
    split_column: str = "auto"
    layout: str = "auto"  # of tables that hold the pixels of colour images
    may_divide: bool = True  # whether the paths of its images may be its split
    class_names: tuple[str, ...] = ()


def open_table(path: Path, options: TableOptions | None = None) -> Data:
    """Data from a table with one row per image, or one row of pixels an image.

    A label cell `a|b` holds several labels; `label_column="a,b"` names several columns of 0
    and 1. A column of splits (train, val, test) and the column `group` are used where present.
    """
    options = options or TableOptions()
    shown = printable(path)
    table = Table(path)
    files = ImageFiles(path, options.image_folder)
    pixels = find_pixel_columns(table) if options.image_column == "auto" else []
    if pixels and not lists_files(table, pixels, files.share_of):
        return _open_pixels(table, pixels, options)
    if options.layout != "auto":
        raise UsageError(
            f"data.layout={printable(options.layout)} is for arrays, and {shown} is none",
            "leave layout out",
        )
    roles = _find_roles(table, options, files)
    read, blank = _read_rows(table, roles)
    read, joined, separator = _join_rows(read, table, roles, options.label_separator)
    names = as_texts(read[roles.image], roles.image)
    refuse_blank(np.strings.strip(names), roles.image, shown)
    images = read_images(files, names)
    if images.rows is not None:
        read = read.take(images.rows)
    naming = (separator, options.class_names)
    told = read_table_labels(read, roles.image, roles.labelled, roles.named, path, *naming)
    labels, classes, notes = told.labels, told.classes, told.notes
    texts = {name: np.strings.strip(as_texts(read[name], name)) for name in roles.columns
             if name in (*roles.split.names, *roles.split.doubtful, *roles.groups)}  # fmt: skip
    given, split_notes = read_split_columns(roles.split, texts, shown)
    placed = images.place(labels, classes, given)
    refuse_lost_classes(labels, classes, placed, shown)
    if given is None and options.split_column == "auto" and options.may_divide:
        given, more = _read_split_paths(placed.ids, labels, classes)
        split_notes += more
    notes += split_notes + compare_splits(labels, given, classes)
    if len(roles.labelled) > 1 and options.label_column == "auto":
        notes = (f"the labels are read from the columns {name_some(roles.labelled)}", *notes)
    if images.is_row_a_class(labels):  # which would be in one split as a whole
        images, roles = replace(images, groups=None), replace(roles, groups=())
    grouped = tuple((name, texts[name]) for name in roles.groups)
    groups, group_notes = read_groups(grouped, given, labels)
    if groups is None and images.groups is None and given is None:
        group_notes = group_notes or _note_groups(table, roles)
    if not options.may_divide:  # they are noted where all tables are there
        group_notes = ()
    return Data(
        name=short_name(path.stem),
        kind="table",
        samples=Samples(placed.ids, labels, classes, images.groups if groups is None else groups),
        given=given if given is not None and (given != TRAIN).any() else None,
        reader=placed.reader,
        notes=table.notes + blank + joined + notes + group_notes + images.notes + placed.notes,
        stamp=placed.stamp,
        named=told.named,
        grouped=grouped,
    )


def _open_pixels(table: Table, pixels: Sequence[str], options: TableOptions) -> Data:
    return open_pixel_rows(
        table,
        pixels,
        label_column=options.label_column,
        label_separator=options.label_separator,
        split_column=options.split_column,
        layout=options.layout,
        class_names=options.class_names,
    )


def _without_blank_rows(read: Any, shown: str) -> tuple[Any, tuple[str, ...]]:
    """The rows in which any cell is filled, and a note: spreadsheets leave blank ones behind."""
    import pyarrow.compute as pc

    if not all(pa.types.is_string(column.type) for column in read.columns):
        return read, ()
    filled = np.zeros(read.num_rows, dtype=bool)
    for column in read.columns if read.num_rows else ():
        cells = pc.utf8_trim_whitespace(pc.fill_null(column, ""))
        filled |= pc.not_equal(cells, "").to_numpy()
        if filled.all():
            return read, ()
    count = plural(int((~filled).sum()), "row")
    note = f"{count} of {shown} without image and label: left out"
    return read.filter(pa.array(filled)), (note,) if read.num_rows else ()


@dataclass(frozen=True)
class _Roles:
    """What the columns of a table are for."""

    image: str
    labelled: Sequence[str]
    split: SplitColumns
    groups: Sequence[str]
    presence: str = ""  # says of each row whether its label holds
    named: str = ""  # may name the classes that the labels number

    @property
    def columns(self) -> list[str]:
        """All that are read."""
        wanted = (*self.labelled, *self.split.names, *self.split.doubtful, *self.groups)
        wanted = (*wanted, *filter(None, (self.presence, self.named)))
        return list(dict.fromkeys((self.image, *wanted)))


def _read_rows(table: Table, roles: _Roles) -> tuple[Any, tuple[str, ...]]:
    """The columns that are used, without blank rows, and a note on these."""
    shown = printable(table.path)
    read, notes = _without_blank_rows(table.read(roles.columns), shown)
    if not read.num_rows:
        raise DataError(f"{shown} lists no image", "add one row per image below the header")
    return read, notes


def _join_rows(
    read: Any, table: Table, roles: _Roles, separator: str
) -> tuple[Any, tuple[str, ...], str]:
    """A table with a row for each image, notes, and the separator of its label cells."""
    if not roles.presence:
        return read, (), separator
    rows = read.num_rows
    read, notes = join_rows(read, roles.image, roles.labelled[0], roles.presence, table)
    return read, notes, "auto" if read.num_rows < rows else separator  # cells are lists now


def _note_groups(table: Table, roles: _Roles) -> tuple[str, ...]:
    labels = table.preview.get(roles.labelled[0]) if len(roles.labelled) == 1 else None
    return note_possible_groups(table.preview, roles.columns, labels)


def _find_roles(table: Table, options: TableOptions, files: ImageFiles) -> _Roles:
    try:
        image = choose_image_column(table, options.image_column, files.share_of)
    except DataError as error:
        hint = "" if files.listed else hint_for_no_images(Path(files.root))
        raise DataError(error.message, hint or error.hint) from None
    split = find_split_columns(table, image, options.label_column, options.split_column)
    groups = find_group_columns(table, image)
    weak = {name for name in groups if not surely_names_groups(plain_name(name))}
    taken = [*split.names, *split.doubtful, *groups]
    taken = [name for name in taken if name not in weak | set(split.weak)]
    labelled = _choose_labels(table, options.label_column, image, taken, [*split.doubtful, *groups])
    groups = [name for name in groups if name not in labelled]
    presence = ""
    if len(labelled) == 1:
        presence = find_presence_column(table, [image, *labelled, *taken])
    named = "" if presence else find_name_column(table, labelled, [image, *taken])
    return _Roles(image, labelled, _without(split, labelled), groups, presence, named)


def _read_split_paths(
    names: NDArray[Any], labels: NDArray[Any], classes: tuple[str, ...]
) -> tuple[NDArray[np.int8] | None, tuple[str, ...]]:
    """The split of each row by the path of its image, None if paths name none, and a note.

    None, too, where classes are not those of train.
    """
    found = read_split_paths(names)
    if found is None:
        return None, ()
    try:
        compare_splits(labels, found.parts, classes)
    except DataError as error:
        note = f"the paths name {name_some(found.words)}, which is not used as the split"
        return None, (f"{note}: {error.message}",)
    counts = count_splits(found.parts)
    note = (
        f"the split is that of the paths, which name {name_some(found.words)}: {counts} "
        "(data.split_column=none uses none)"
    )
    return found.parts, (note,)


def _choose_labels(
    table: Table, asked: str, image: str, taken: Sequence[str], doubtful: Sequence[str]
) -> list[str]:
    """The label columns; one that may be about splits or groups where no other is left."""
    try:
        return choose_label_columns(table, asked, image, taken)
    except DataError:
        free = [name for name in doubtful if not is_numbered(table.preview[name], name)]
        if not free:
            raise
        certain = [name for name in taken if name not in free]
        return choose_label_columns(table, asked, image, certain)


def _without(split: SplitColumns, labelled: Sequence[str]) -> SplitColumns:
    """The split columns without those that are labels."""
    names = tuple(name for name in split.names if name not in labelled)
    doubtful = tuple(name for name in split.doubtful if name not in labelled)
    return replace(split, names=names, doubtful=doubtful)


def note_unlisted(data: Data, path: Path) -> Data:
    """`data` with a note on folders of test images beside the table that it lists nothing of."""
    if not isinstance(data.reader, FileReader):
        return data
    root = path.parent
    with os.scandir(root) as entries:
        folders = sorted(entry.name for entry in entries if entry.is_dir())
    notes = []
    for name in folders:
        named = read_split_name(name)
        place = os.path.join(root, name)  # noqa: PTH118
        if named is None or named.part == TRAIN or not holds_images(place):
            continue
        if not np.strings.startswith(data.samples.ids, f"{name}/").any():
            notes.append(
                f"the images in {printable(name)}/ are not listed and not used: "
                f"`loupe predict RUN {printable(place)}` labels them"
            )
    return replace(data, notes=(*data.notes, *notes))
