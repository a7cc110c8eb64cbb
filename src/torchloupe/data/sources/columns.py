"""The columns of a table file, read as text whatever its dialect: separators, spaces, encodings.

Which column holds what is decided in column_roles.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.headerless import find_images, name_columns
from torchloupe.data.sources.matlab import MATLAB_ENDINGS, read_matlab
from torchloupe.data.sources.records import RECORD_ENDINGS, read_records
from torchloupe.data.sources.source import name_some
from torchloupe.data.sources.text_lists import LIST_ENDINGS, read_list
from torchloupe.errors import DataError, printable

_READERS = {  # of tables that are read as a whole: columns of text, and notes
    **dict.fromkeys(LIST_ENDINGS, read_list),
    **dict.fromkeys(RECORD_ENDINGS, read_records),
    **dict.fromkeys(MATLAB_ENDINGS, read_matlab),
}
PREVIEW_ROWS = 1000
_HEAD_BYTES = 2**20
_BLOCK_BYTES = 2**20  # that Arrow reads at a time; a row must fit in
_LONG_LINE = 2**15
_LARGE_BLOCK_BYTES = 2**29  # of tables with images in their cells
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_HEAD_LINES = 500  # of which columns without names get theirs
_MOST_TITLES = 5  # lines above a header
_FEWEST_NUMBERS = 16  # columns of a table without a header that is all numbers


class Table:
    """A table file whose columns are known and read one by one, as text where they are text."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._raw: list[str]
        self.has_header = True
        self._is_parquet = path.suffix.lower() == ".parquet"
        self._delimiter = ","
        self._skipped = 0  # lines before the header
        self._is_spaced = False  # quotes follow a space, which Arrow doesn't read
        self._names: list[str] | None = None
        self._encoding = "utf-8-sig"
        self._whole: Any = None  # the table where it is read as a whole
        self._block_bytes = _BLOCK_BYTES
        self.notes: tuple[str, ...] = ()  # on what the file holds and the columns don't
        try:
            if (read := _READERS.get(path.suffix.lower())) is not None:
                cells, self.notes = read(path)
                self._whole = pa.table(
                    {name: pa.array(c, pa.string()) for name, c in cells.items()}
                )
                self._raw = list(cells)
            elif self._is_parquet:
                self._raw = list(pa.parquet.read_schema(path).names)
            else:
                self._read_header()
        except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
            raise self._unreadable(error) from None
        self.columns = [name.strip() for name in self._raw]
        twice = [name for name, count in Counter(self.columns).items() if count > 1 and name]
        if twice:
            raise DataError(
                f"{printable(path)} has several columns named {name_some(twice)}",
                "give every column a name of its own",
            )

    def _read_header(self) -> None:
        with self.path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):  # as Excel saves "Unicode text"
            self._encoding = "utf-16"
        lines = head.decode(self._encoding, "replace").splitlines()
        if max(map(len, lines), default=0) > _LONG_LINE:
            self._block_bytes = _LARGE_BLOCK_BYTES
        delimiter = ""
        if lines and (said := re.fullmatch(r'"?sep=(.)"?[,;\t]*', lines[0], re.IGNORECASE)):
            delimiter, self._skipped = said[1], 1  # Excel's own first line
        self._skipped += _count_remarks(lines[self._skipped :])
        above = lines[self._skipped :][: _count_titles(lines[self._skipped :])]
        self._skipped += len(above)
        if titles := [title for line in above if (title := line.strip(",; \t"))]:
            name = printable(self.path.name)
            self.notes += (f"{name} is read from below {name_some(titles)}",)
        first = lines[self._skipped] if len(lines) > self._skipped else ""
        if not first.strip():
            raise DataError(
                f"{printable(self.path)} is empty", "give it a header line, such as image,label"
            )
        if not delimiter:
            usual = "\t" if self.path.suffix.lower() == ".tsv" else ","
            delimiter = _find_delimiter(usual, first, lines[self._skipped + 1 :][:50])
        self._delimiter = delimiter
        cells = next(csv.reader([first], delimiter=delimiter, skipinitialspace=True))
        quoted = re.compile(rf'(^|{re.escape(delimiter)}) +"')
        self._is_spaced = self._encoding == "utf-16" or any(
            quoted.search(line) for line in lines[:PREVIEW_ROWS]
        )
        if _is_mangled(cells):  # a first image that pandas took for the header
            self._skipped += 1
        if len(cells) >= _FEWEST_NUMBERS and all(_NUMBER.fullmatch(c.strip()) for c in cells):
            self.has_header = False
            self._names = [f"column {number + 1}" for number in range(len(cells))]
        else:
            read = csv.reader(lines[self._skipped :][:_HEAD_LINES], delimiter=delimiter)
            is_long = self._block_bytes > _BLOCK_BYTES
            rows = [cells] if is_long else [row for row in read if len(row) == len(cells)]
            if (image := find_images(cells, rows[1:], self.path.parent)) >= 0:
                self.has_header = False
                self._names = name_columns(image, rows)
        if self._names is not None:
            self._raw = self._names
        elif self._is_spaced:
            self._raw = [cell.strip() for cell in cells]
        else:
            self._raw = self._open_csv().schema.names

    def _open_csv(self) -> Any:
        return pa.csv.open_csv(
            self.path,
            read_options=self._read_options(use_threads=False),
            parse_options=self._parse_options(),
            convert_options=pa.csv.ConvertOptions(strings_can_be_null=False),
        )

    def _read_options(self, use_threads: bool = True) -> Any:
        return pa.csv.ReadOptions(
            column_names=self._names,
            skip_rows=self._skipped,
            use_threads=use_threads,
            block_size=self._block_bytes,
        )

    def _parse_options(self) -> Any:
        return pa.csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True)

    @cached_property
    def preview(self) -> dict[str, NDArray[Any]]:
        """The first rows as text, by column; without columns that are no text or numbers."""
        try:
            if self._is_parquet:
                batches = pa.parquet.ParquetFile(self.path).iter_batches(PREVIEW_ROWS)
                empty = pa.table({name: pa.array([], pa.string()) for name in self._raw})
                first = next((pa.Table.from_batches([batch]) for batch in batches), empty)
            else:
                first = self.read(self.columns, PREVIEW_ROWS)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from None
        found = {}
        for name, column in zip(self.columns, first.columns, strict=True):
            try:
                found[name] = np.strings.strip(as_texts(pa.chunked_array(column), name))
            except DataError:
                continue
        return found

    def read(self, columns: list[str], rows: int | None = None) -> Any:
        """These columns as an Arrow table under their names; with `rows`, of some rows only."""
        raw = [self._raw[self.columns.index(name)] for name in columns]
        try:
            if self._is_parquet:
                return pa.parquet.read_table(self.path, columns=raw).rename_columns(columns)
            if self._whole is not None or self._is_spaced:
                table = (self._whole or self._spaced).select(raw).rename_columns(columns)
                return table if rows is None else table.slice(0, rows)
            types = dict.fromkeys(raw, pa.string())
            return self.read_typed(raw, types, rows).rename_columns(columns)
        except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
            raise self._unreadable(error) from None

    def read_typed(self, raw: list[str], types: dict[str, Any], rows: int | None = None) -> Any:
        """Columns of a text file under the names in the file, as these Arrow types."""
        options = pa.csv.ConvertOptions(
            include_columns=raw, column_types=types, strings_can_be_null=False
        )
        parse = self._parse_options()
        if rows is None:
            return pa.csv.read_csv(
                self.path,
                read_options=self._read_options(),
                parse_options=parse,
                convert_options=options,
            )
        with pa.csv.open_csv(
            self.path,
            read_options=self._read_options(use_threads=False),
            parse_options=parse,
            convert_options=options,
        ) as reader:
            batch = next(iter(reader), None)
            batches = [] if batch is None else [batch.slice(0, rows)]
            return pa.Table.from_batches(batches, reader.schema)

    @cached_property
    def _spaced(self) -> Any:
        """The whole table, read by Python: slower, and it knows quotes behind a space."""
        with self.path.open(encoding=self._encoding, newline="") as file:
            rest = islice(file, self._skipped, None)
            reader = csv.reader(rest, delimiter=self._delimiter, skipinitialspace=True, strict=True)
            rows = [row for row in reader if row]
        rows = rows if self._names else rows[1:]
        for number, row in enumerate(rows):
            if len(row) != len(self.columns):
                raise self._unreadable(
                    ValueError(
                        f"row {number + 1}: expected {len(self.columns)} columns, got {len(row)}"
                    )
                )
        columns = list(zip(*rows, strict=True)) or [()] * len(self.columns)
        return pa.table([pa.array(column, pa.string()) for column in columns], names=self.columns)

    @property
    def is_text(self) -> bool:
        """Whether the file is one of text, and no Parquet file."""
        return not self._is_parquet and self._whole is None

    def raw_name(self, column: str) -> str:
        """The name of a column as it is in the file."""
        return self._raw[self.columns.index(column)]

    def _unreadable(self, error: Exception) -> DataError:
        what = "a Parquet file" if self._is_parquet else "a table of text in UTF-8"
        hint = "save it again, one row per image, columns image and label"
        if re.search(r"[Ee]xpected \d+ columns, got \d+", str(error)):
            hint = "cells that hold the separator stand in quotes; every row has as many cells"
        if not self._is_parquet and "utf" in str(error).lower():
            hint = "save it as UTF-8; in Excel that is the type CSV UTF-8"
        return DataError(
            f"{printable(self.path)} can't be read as {what}: {printable(error)}", hint
        )


def _is_mangled(cells: Sequence[str]) -> bool:
    """Whether numbers as names of columns were told apart as pandas does: 0, 0.1, 0.2 and so on."""
    if len(cells) < _FEWEST_NUMBERS:
        return False
    seen: Counter[str] = Counter()
    for cell in cells:
        name, _, count = cell.strip().partition(".")
        if not name.isdigit() or count != (str(seen[name]) if seen[name] else ""):
            return False
        seen[name] += 1
    return max(seen.values()) > 2


def _count_remarks(lines: Sequence[str]) -> int:
    """How many lines before the header are remarks: they begin with # and hold no such cells."""
    count = next((k for k, line in enumerate(lines) if not line.startswith("#")), 0)
    following = lines[count] if count else ""
    signs = [sign for sign in (",", ";", "\t") if sign in following]
    for sign in signs:
        cells = len(next(csv.reader([following], delimiter=sign)))
        if any(lines[k].count(sign) + 1 == cells for k in range(count)):
            return 0  # `#image,label` is the header
    return count


def _count_titles(lines: Sequence[str]) -> int:
    """How many lines before the header are blank, or hold one cell where the table has several."""
    blank = next((k for k, line in enumerate(lines) if line.strip()), 0)
    shown = lines[blank:][: _MOST_TITLES + 5]
    if max(map(len, shown), default=0) > _LONG_LINE:
        return blank
    found = []
    for sign in (",", ";", "\t", "|"):
        rows = list(csv.reader(shown, delimiter=sign, skipinitialspace=True))
        first = next((k for k, row in enumerate(rows) if any(row[1:])), len(rows))
        widths = {len(row) for row in rows[first:] if row}
        has_images = any(suffix in "".join(shown[first : first + 1]) for suffix in IMAGE_SUFFIXES)
        if first == 0:
            return blank
        if first <= _MOST_TITLES and len(widths) == 1 and len(rows) > first + 1 and not has_images:
            found.append(first)
    return blank + min(found, default=0)


def _find_delimiter(usual: str, first: str, rows: Sequence[str]) -> str:
    """The sign between cells: the `usual`, else another; spaces if all rows have them."""
    if usual in first:
        return usual
    found = max(usual, ";", "\t", "|", key=first.count)
    if found in first:
        return found
    count = first.count(" ")
    is_spaced = count and rows and all(row.count(" ") == count for row in rows if row.strip())
    return " " if is_spaced else usual


def as_texts(column: Any, name: str) -> NDArray[Any]:
    """A column as StringDType [N]; what is missing becomes an empty text."""
    import pyarrow.compute as pc

    kind = column.type
    try:
        if pa.types.is_dictionary(kind):
            column = column.cast(kind.value_type)
        if _is_plain_struct(kind):  # as JSON, which cells of text hold, too
            cells = [json.dumps(cell) if cell else "" for cell in column.to_pylist()]
            return np.array(cells, dtype=np.dtypes.StringDType())
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


def _is_plain_struct(kind: Any) -> bool:
    """Whether an Arrow type is a struct of texts, numbers and flags."""
    return pa.types.is_struct(kind) and all(
        pa.types.is_string(field.type)
        or pa.types.is_large_string(field.type)
        or pa.types.is_integer(field.type)
        or pa.types.is_floating(field.type)
        or pa.types.is_boolean(field.type)
        for field in kind
    )
