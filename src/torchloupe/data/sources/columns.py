"""Columns of a table file, read as text, and which of them hold images and labels."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.source import name_some
from torchloupe.errors import DataError, UsageError, did_you_mean, printable

IMAGE_COLUMNS = ("image", "path", "file", "filename", "filepath", "file_name", "image_path", "img")
LABEL_COLUMNS = ("label", "class", "category", "target", "labels", "class_name")


class Table:
    """A table file whose columns are known and read one by one, as text where they are text."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_parquet = path.suffix.lower() == ".parquet"
        self._parsing: Any = None
        self._names: list[str] | None = None
        try:
            if self._is_parquet:
                self.columns: list[str] = list(pa.parquet.read_schema(path).names)
            else:
                self._read_header()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise self._unreadable(error) from None
        twice = [name for name, count in Counter(self.columns).items() if count > 1]
        if twice:
            raise DataError(
                f"{printable(path)} has several columns named {name_some(twice)}",
                "give every column a name of its own",
            )

    def _read_header(self) -> None:
        with self.path.open("rb") as file:
            first = file.readline(1_000_000).decode("utf-8-sig")
        if not first.strip():
            raise DataError(
                f"{printable(self.path)} is empty", "give it a header line, such as image,label"
            )
        delimiter = "\t" if self.path.suffix.lower() == ".tsv" else ","
        if delimiter not in first:
            delimiter = max(delimiter, ";", "\t", key=first.count)
        self._parsing = pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
        self.columns = self._open_csv().schema.names
        if any(os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES for name in self.columns):  # noqa: PTH122
            # There is no header: its place is taken by the first image.
            width = len(self.columns)
            self._names = ["image", "label", *(f"column {k + 1}" for k in range(2, width))][:width]
            self.columns = self._names

    def _open_csv(self) -> Any:
        return pa.csv.open_csv(
            self.path,
            read_options=pa.csv.ReadOptions(column_names=self._names, use_threads=False),
            parse_options=self._parsing,
        )

    def read(self, columns: list[str]) -> Any:
        """These columns as an Arrow table."""
        try:
            if self._is_parquet:
                return pa.parquet.read_table(self.path, columns=columns)
            return pa.csv.read_csv(
                self.path,
                read_options=pa.csv.ReadOptions(column_names=self._names),
                parse_options=self._parsing,
                convert_options=pa.csv.ConvertOptions(
                    include_columns=columns,
                    column_types=dict.fromkeys(columns, pa.string()),
                    strings_can_be_null=False,
                ),
            )
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> DataError:
        what = "a Parquet file" if self._is_parquet else "a table of text in UTF-8"
        return DataError(
            f"{printable(self.path)} can't be read as {what}: {printable(error)}",
            "save it again, one row an image, columns image and label",
        )


def choose_column(table: Table, what: str, asked: str, taken: str = "") -> str:
    """The column asked for; else the one with a usual name; else the one of two that is left.

    `what` is "image" or "label"; `taken` is a column that is something else already.
    """
    shown = printable(table.path)
    usual = IMAGE_COLUMNS if what == "image" else LABEL_COLUMNS
    if asked != "auto":
        if asked in table.columns:
            return asked
        raise UsageError(
            f"{shown} has no column {printable(asked)!r} (data.{what}_column)",
            did_you_mean(asked, table.columns),
        )
    lower = {name.strip().lower(): name for name in reversed(table.columns) if name != taken}
    found = [lower[name] for name in usual if name in lower]
    if found:
        return found[0]
    if len(table.columns) == 2:
        first, second = table.columns
        if taken:
            return second if taken == first else first
        has_label = first.strip().lower() in LABEL_COLUMNS
        return second if has_label else first
    raise DataError(
        f"{shown} has no column that is surely the {what}: its columns are "
        f"{name_some(table.columns, 12)}",
        f"say which: data.{what}_column=NAME",
    )


def label_columns(table: Table, asked: str, image: str) -> list[str]:
    """The column of labels, or the several columns of 0 and 1 that "a,b,c" asks for."""
    names = [name.strip() for name in asked.split(",")]
    if asked in table.columns or len(names) == 1:
        return [choose_column(table, "label", asked, image)]
    unknown = [name for name in names if name not in table.columns]
    if unknown:
        raise UsageError(
            f"{printable(table.path)} has no column {name_some(unknown)} (data.label_column)",
            did_you_mean(unknown[0], table.columns),
        )
    return list(dict.fromkeys(names))


def as_texts(column: Any, name: str) -> NDArray[Any]:
    """A column as StringDType [N]; what is missing becomes an empty text."""
    kind = column.type
    try:
        if pa.types.is_dictionary(kind):
            column = column.cast(kind.value_type)
        if pa.types.is_floating(kind) and pc.all(pc.equal(pc.round(column), column)).as_py():
            column = column.cast(pa.int64())
        texts = pc.fill_null(column.cast(pa.string()), "")
        parts = [
            np.array(chunk.slice(start, 65_536).to_pylist(), dtype=np.dtypes.StringDType())
            for chunk in texts.chunks
            for start in range(0, len(chunk), 65_536)
        ]
    except (pa.ArrowException, UnicodeDecodeError):
        raise DataError(
            f"column {printable(name)!r} holds values of type {printable(kind)} that are not text "
            "or whole numbers",
            "list images by path, labels by name or number",
        ) from None
    return np.concatenate(parts) if parts else np.array([], dtype=np.dtypes.StringDType())
