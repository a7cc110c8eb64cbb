"""A table alone in an archive or compressed: `train.csv.zip` of Kaggle, `labels.csv.gz`.

Its images lie beside it, as they would beside the table itself.
"""

import gzip
import os
import shutil
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from torchloupe.data.sources.archived import TemporaryFolder
from torchloupe.data.sources.source import Data, FileReader, make_stamp, short_name, stamp_file
from torchloupe.errors import DataError, LoupeError, printable

PACKED_TABLES = (".csv.gz", ".tsv.gz", ".txt.gz", ".json.gz", ".jsonl.gz")


def open_gzip(path: Path, open_data: Callable[..., Data], options: Mapping[str, Any]) -> Data:
    """Data from a table compressed by gzip; DataError if it is damaged."""
    holder = TemporaryFolder()
    table = holder.path / path.name[: -len(".gz")]
    try:
        with gzip.open(path) as packed, table.open("wb") as file:
            shutil.copyfileobj(packed, file)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{printable(path)} can't be unpacked: {printable(error)}", "fetch the file again"
        ) from None
    data = open_beside(table, path, open_data, options)
    reader: Any = data.reader
    reader.kept_alive = holder
    return data


def open_beside(
    table: Path, packed: Path, open_data: Callable[..., Data], options: Mapping[str, Any]
) -> Data:
    """Data from a `table` that was unpacked, with its images in it or beside `packed`.

    `options` are those of open_data. Texts name the packed file.
    """
    folder, typed = packed.absolute().parent, options.get("image_folder", "auto")
    place = folder if typed == "auto" else folder / os.path.expanduser(typed)  # noqa: PTH111
    try:
        try:
            data = open_data(table, **options)
        except LoupeError:
            data = open_data(table, **{**options, "image_folder": str(place)})
    except LoupeError as error:
        texts = (_explain(text, table, packed) for text in (error.message, error.hint))
        raise type(error)(*texts) from None
    notes = tuple(_explain(note, table, packed) for note in data.notes)
    stamp = make_stamp("packed", stamp_file(os.fspath(packed)), data.stamp)
    data = replace(data, name=short_name(table.stem), notes=notes, stamp=stamp)
    return _below(data, folder)


def _below(data: Data, folder: Path) -> Data:
    """`data` with the ids of its images relative to `folder`, where they are absolute paths."""
    start, ids, reader = f"{folder}{os.sep}", data.samples.ids.tolist(), data.reader
    if not isinstance(reader, FileReader) or not all(name.startswith(start) for name in ids):
        return data
    short = np.array([name.removeprefix(start) for name in ids], dtype=np.dtypes.StringDType())
    exact = {row: reader.path(row) for row in range(len(ids)) if reader.name(row) != ids[row]}
    samples = replace(data.samples, ids=short, known_keys=None)
    return replace(data, samples=samples, reader=FileReader(str(folder), short, exact))


def _explain(text: str, table: Path, packed: Path) -> str:
    """A text about the unpacked table as one about the packed file."""
    shown = printable(packed)
    return text.replace(str(table), shown).replace(str(table.parent), printable(packed.parent))
