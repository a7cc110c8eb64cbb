"""Parquet files with the images in them, as Hugging Face writes them: bytes beside a label.

Images stay in the files. A row is read with its whole row group, a few of which are kept.
"""

import json
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from torchloupe.data.image.formats import ImageError, begins_an_image
from torchloupe.data.samples import Samples, make_ids
from torchloupe.data.sources.column_roles import MORE_LABEL_COLUMNS, plain_name
from torchloupe.data.sources.label_cells import read_label_cells
from torchloupe.data.sources.labels import order_classes, read_labels
from torchloupe.data.sources.missing_files import note_missing
from torchloupe.data.sources.object_cells import read_object
from torchloupe.data.sources.pairs import IMAGE_KEYS, find_key, find_label_key
from torchloupe.data.sources.parquet_columns import (
    NO_LABEL,
    choose_column,
    find_beside,
    names_of,
    read_beside,
    read_rows,
    read_schema,
)
from torchloupe.data.sources.shards import name_shards, splits_of
from torchloupe.data.sources.side_columns import SideRoles
from torchloupe.data.sources.source import (
    SPLIT_WORDS,
    Data,
    make_stamp,
    short_name,
    stamp_file,
)
from torchloupe.data.sources.unused_columns import tell_split_or_group
from torchloupe.data.split import TRAIN
from torchloupe.errors import DataError, printable

_KEPT_GROUPS = 4
_DEEPEST = 2  # folders in one another that are entered: `data/`, `default/train/`


class ParquetReader:
    """Encoded images in row groups of several files; safe to call from several threads."""

    def __init__(self, files: Sequence[str], column: str, groups: NDArray[np.int64]) -> None:
        """`groups` [G, 3]: number of the file, of the row group in it, and its rows."""
        self._files = tuple(files)
        self._column = column
        self._groups = groups
        self._ends = np.cumsum(groups[:, 2])
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._lock = Lock()

    def read(self, row: int) -> bytes:
        """The bytes of the image of `row`."""
        group = int(np.searchsorted(self._ends, row, side="right"))
        place = row - int(self._ends[group] - self._groups[group, 2])
        with self._lock:
            if group not in self._kept:
                self._kept[group] = self._read_group(group)
                while len(self._kept) > _KEPT_GROUPS:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(group)
            column = self._kept[group]
        found = column[place].as_py()
        if isinstance(found, dict):
            found = found.get("bytes")
        if not isinstance(found, bytes):
            raise ImageError("the cell holds no bytes of an image")
        return found

    def _read_group(self, group: int) -> Any:
        number, place, _ = (int(value) for value in self._groups[group])
        try:
            with pa.parquet.ParquetFile(self._files[number]) as file:
                return file.read_row_group(place, columns=[self._column]).column(0)
        except (pa.ArrowException, OSError) as error:
            raise ImageError(f"{Path(self._files[number]).name}: {error}") from None


def find_parquet(path: Path) -> list[Path]:
    """The Parquet files with images in them: the file, those in the folder, in the folders of its
    splits, or in the same way in the only folder in it.
    """
    places = [path] if path.is_file() else _list_folder(path)
    for _ in range(_DEEPEST):
        inner = _folders_in(path) if not places and path.is_dir() else []
        if len(inner) != 1:
            break
        path = inner[0]
        places = _list_folder(path)
    return places if places and _image_columns(places[0]) else []


def _list_folder(path: Path) -> list[Path]:
    """The Parquet files in a folder, or in those of its splits if it holds no other folder."""
    inner = _folders_in(path)
    is_split = bool(inner) and all(folder.name.lower() in SPLIT_WORDS for folder in inner)
    found = [*path.glob("*.parquet")]
    if not found and is_split:
        found = [file for folder in inner for file in folder.glob("*.parquet")]
    return sorted(found)


def _folders_in(path: Path) -> list[Path]:
    return [p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")]


def open_parquet(
    path: Path,
    *,
    image_column: str = "auto",
    label_column: str = "auto",
    split_column: str = "auto",
    class_names: Sequence[str] = (),
) -> Data:
    """Data from Parquet files with images in them; files called train-*, test-* are splits.

    Columns of splits, of groups and of names beside class numbers are used as those of tables.
    """
    files = find_parquet(path)
    splits = splits_of(files)
    order = np.argsort(splits, kind="stable")
    files, splits = [files[k] for k in order], [splits[k] for k in order]
    shown = printable(path)
    image, label = _choose_columns(files[0], image_column, label_column, shown)
    known = names_of(read_schema(files[0]), label)
    roles = find_beside(files, [*_image_columns(files[0]), image], label, split_column)
    roles = SideRoles(roles.split, roles.groups) if known or class_names else roles
    rows = read_rows(files, splits, label, known, roles.columns)
    groups, labels, parts, notes = rows.groups, rows.labels, rows.parts, tuple(rows.notes)
    notes += note_missing(files) if path.is_dir() else ()
    if not parts:
        raise DataError(f"{shown} holds no image", "give a file with one row per image")
    nothing = (None, NO_LABEL) if known else (None,)
    empty = next((row for row, value in enumerate(labels) if value in nothing), None)
    if empty is not None:
        raise DataError(
            f"{shown}: column {printable(label)!r} has no label in row {empty}",
            "fill the cell or take the row out",
        )
    given = np.array(parts, dtype=np.int8)
    named = given if (given != TRAIN).any() else None
    beside = read_beside(roles, rows, label, named, shown)
    values = labels if beside.names is None else beside.names.tolist()
    numbers, classes, more = _number(
        list(map(read_object, values)), known, class_names, f"{shown}: column {printable(label)!r}"
    )
    notes += more
    shown_as = name_shards(files)
    ids = [f"{shown_as[number]}/{row}" for number, rows in _count(groups) for row in range(rows)]
    texts = [os.fspath(file) for file in files]
    data = Data(
        name=short_name(path.resolve().name if path.is_dir() else path.stem),
        kind="shards",
        samples=Samples(make_ids(ids), numbers, classes),
        given=None,
        reader=ParquetReader(texts, image, np.array(groups, dtype=np.int64)),
        notes=notes,
        stamp=make_stamp(
            image, *(f"{n} {stamp_file(t)}" for n, t in zip(shown_as, texts, strict=True))
        ),
    )
    return beside.complete(data)


def _choose_columns(
    file: Path, image_column: str, label_column: str, shown: str
) -> tuple[str, str]:
    """The columns of images and of labels."""
    schema = read_schema(file)
    image = choose_column(schema.names, _image_columns(file), image_column, "image", shown)
    rest = [name for name in schema.names if name != image]
    key = find_label_key(rest)
    usual = [key] if key is not None else [n for n in rest if n.lower().endswith("label")]
    named = [n for n in rest if plain_name(n) in MORE_LABEL_COLUMNS] if not usual else []
    left = [name for name in rest if not tell_split_or_group(name)]
    usual = usual or named[:1] or (left if len(left) == 1 else [])
    return image, choose_column(schema.names, usual, label_column, "label", shown)


def _number(
    labels: list[Any], known: tuple[str, ...], class_names: Sequence[str], shown: str
) -> tuple[NDArray[Any], tuple[str, ...], tuple[str, ...]]:
    """Labels as numbers, class names and notes; with `known` names, labels are their places."""
    if known and all(isinstance(label, int) for label in labels):
        numbers = np.array(labels, dtype=np.int64)
        if numbers.min() < 0 or numbers.max() >= len(known):
            wrong = numbers[(numbers < 0) | (numbers >= len(known))][0]
            raise DataError(
                f"{shown} has label {wrong}, and names for 0 to {len(known) - 1}",
                "write the file again with a name for each class",
            )
        names, place = order_classes(list(known), class_names or known)
        return place[numbers], names, ()
    if any(isinstance(label, list) for label in labels) and not _are_flags(labels):
        return _read_lists(labels, known, class_names, shown)
    try:
        return read_labels(np.array(labels), class_names or known)
    except (DataError, ValueError) as error:
        raise DataError(
            f"{shown} holds no labels: {printable(error)}",
            "say which column does: data.label_column=NAME",
        ) from None


def _are_flags(labels: list[Any]) -> bool:
    """Whether labels are rows of 0 and 1, all of one length."""
    lists = [label for label in labels if isinstance(label, list)]
    same = len({len(words) for words in lists}) == 1 and len(lists) == len(labels)
    return same and len(lists[0]) > 1 and all(word in (0, 1) for words in lists for word in words)


def _read_lists(
    labels: list[Any], known: tuple[str, ...], class_names: Sequence[str], shown: str
) -> tuple[NDArray[Any], tuple[str, ...], tuple[str, ...]]:
    """Labels of images that may have several each, as lists; numbers are places in `known`."""
    cells = []
    for label in labels:
        words = label if isinstance(label, list) else [label]
        if known and all(isinstance(word, int) for word in words):
            if wrong := [word for word in words if not 0 <= word < len(known)]:
                raise DataError(
                    f"{shown} has label {wrong[0]}, and names for 0 to {len(known) - 1}",
                    "write the file again with a name for each class",
                )
            words = [known[word] for word in words]
        cells.append(json.dumps([str(word) for word in words]))
    texts = np.array(cells, dtype=np.dtypes.StringDType())
    return read_label_cells(texts, "label", "auto", class_names or known, shown)


def _count(groups: Sequence[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """(number of the file, its rows), in order."""
    rows: dict[int, int] = {}
    for number, _, count in groups:
        rows[number] = rows.get(number, 0) + count
    return list(rows.items())


def _image_columns(path: Path) -> list[str]:
    """Columns of images: structs with `bytes`, and binary ones with a usual name or an image."""
    try:
        schema = read_schema(path)
    except DataError:
        return []
    found = []
    for column in schema:
        kind = column.type
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            found.append(column.name)
        elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            is_usual = find_key([column.name], IMAGE_KEYS) is not None
            found += [column.name] if is_usual or _holds_images(path, column.name) else []
    return found


def _holds_images(path: Path, column: str) -> bool:
    """Whether the first cell of a binary column begins like an image file."""
    try:
        with pa.parquet.ParquetFile(path) as file:
            batch = next(file.iter_batches(1, columns=[column]), None)
            first = batch.column(0)[0].as_py() if batch is not None and len(batch) else None
    except (pa.ArrowException, OSError):
        return False
    return first is not None and begins_an_image(first[:64])
