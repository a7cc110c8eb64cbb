"""Columns of Parquet files with images in them: which is what, and the cells of all but images."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from torchloupe.data.sources.columns import PREVIEW_ROWS, as_texts
from torchloupe.data.sources.side_columns import (
    Beside,
    SideRoles,
    as_cells,
    find_side_roles,
    read_roles_beside_split,
    read_side_roles,
)
from torchloupe.data.sources.source import name_some
from torchloupe.errors import DataError, UsageError, did_you_mean, printable

NO_LABEL = -1  # stands for it in sets of Hugging Face, as in test files


@dataclass
class Rows:
    """The rows of several files."""

    groups: list[tuple[int, int, int]] = field(default_factory=list)  # file, group, rows in it
    labels: list[Any] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cells: dict[str, list[NDArray[Any]]] = field(default_factory=dict)  # by column, a file each


def read_rows(
    files: Sequence[Path],
    splits: Sequence[int],
    label: str,
    known: tuple[str, ...],
    more: Sequence[str],
) -> Rows:
    """Labels, splits, row groups and the cells of columns `more`.

    Files without one label are left out with a note.
    """
    rows = Rows()
    for number, file in enumerate(files):
        try:
            with pa.parquet.ParquetFile(file) as opened:
                counts = [
                    opened.metadata.row_group(k).num_rows for k in range(opened.num_row_groups)
                ]
                read = opened.read(columns=[label, *more])
                own = read[label].to_pylist()
                names = names_of(opened.schema_arrow, label)
                cells = {name: _cells(read[name], opened.schema_arrow, name) for name in more}
        except (pa.ArrowException, OSError, KeyError) as error:
            raise unreadable(file, error) from None
        require_same_names(known, names, files[0], file)
        if known and own and all(value == NO_LABEL for value in own):
            rows.notes.append(f"{file.name} is not used: it has no labels (all are -1)")
            continue
        rows.groups += [(number, k, count) for k, count in enumerate(counts)]
        rows.labels += own
        for name, texts in cells.items():
            rows.cells.setdefault(name, []).append(texts)
        rows.parts += [splits[number]] * sum(counts)
    return rows


def find_beside(files: Sequence[Path], besides: Sequence[str], label: str, asked: str) -> SideRoles:
    """What the columns are for that are neither images nor labels, of those that all files have.

    `asked` is data.split_column. UsageError if there is no such column.
    """
    schema = read_schema(files[0])
    plain = [column.name for column in schema if _is_plain(column.type)]
    plain = [name for name in plain if name not in besides]
    if asked.partition(":")[0] not in ("auto", "none", *schema.names) and asked not in plain:
        raise UsageError(
            f"{printable(files[0])} has no column {printable(asked)!r} (data.split_column)",
            did_you_mean(asked.partition(":")[0], plain),
        )
    with pa.parquet.ParquetFile(files[0]) as file:
        batch = next(file.iter_batches(PREVIEW_ROWS, columns=plain), None) if plain else None
    if batch is None or not len(batch):
        return SideRoles()
    first = pa.Table.from_batches([batch])
    preview = {name: _cells(first[name], schema, name) for name in plain}
    roles = find_side_roles(preview, label, str(files[0]), asked)
    if not roles.columns:
        return roles
    common = set(plain).intersection(*(read_schema(file).names for file in files[1:]))
    split = roles.split
    names = split.names if set(split.names) <= common else ()
    doubtful = tuple(name for name in split.doubtful if name in common)
    return SideRoles(
        replace(split, names=names, doubtful=doubtful),
        [name for name in roles.groups if name in common],
        roles.named if roles.named in common else "",
    )


def read_beside(
    roles: SideRoles, rows: Rows, label: str, given: NDArray[np.int8] | None, shown: str
) -> Beside:
    """What the columns beside say of the rows; `given` [N] is the split that files name, if any.

    It is used, with a note where a column says another, unless the column was asked for.
    """
    cells = {name: np.concatenate(parts) for name, parts in rows.cells.items()}
    labels = as_cells(rows.labels)
    cells |= {} if labels is None else {label: labels}
    if given is None or roles.split.is_asked_for:
        return read_side_roles(roles, cells, label, shown)
    asked = (
        f"; data.split_column={printable(roles.split.names[0])} uses it"
        if roles.split.names
        else ""
    )
    return read_roles_beside_split(
        roles, cells, label, shown, given, "the names of the files", asked
    )


def _is_plain(kind: Any) -> bool:
    """Whether an Arrow type is one of texts, numbers or flags."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
    )


def _cells(column: Any, schema: Any, name: str) -> NDArray[Any]:
    """A column as texts [N], with the names of a ClassLabel in place of its numbers."""
    texts = np.strings.strip(as_texts(column, name))
    known: Mapping[str, str] = {str(k): text for k, text in enumerate(names_of(schema, name))}
    if not known:
        return texts
    plain = [known.get(text, text) for text in texts.tolist()]
    return np.array(plain, dtype=np.dtypes.StringDType())


def choose_column(
    columns: Sequence[str], found: Sequence[str], asked: str, what: str, shown: str
) -> str:
    """The column that was `asked` for as data.`what`_column, else the only one `found`."""
    if asked != "auto":
        if asked not in columns:
            raise UsageError(
                f"{shown} has no column {printable(asked)!r} (data.{what}_column)",
                did_you_mean(asked, columns),
            )
        return asked
    if len(found) != 1:
        raise DataError(
            f"{shown} has no column that is surely the {what}: its columns are "
            f"{name_some(columns, 12)}",
            f"say which: data.{what}_column=NAME",
        )
    return found[0]


def names_of(schema: Any, label: str) -> tuple[str, ...]:
    """The names of a ClassLabel of Hugging Face, from the file's metadata; () if there are none."""
    try:
        text = (schema.metadata or {})[b"huggingface"]
        feature = json.loads(text)["info"]["features"][label]
        if isinstance(feature, list):  # several labels an image
            feature = feature[0]
        names = feature.get("feature", feature)["names"]
        return tuple(str(name) for name in names)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return ()


def require_same_names(
    first: tuple[str, ...], names: tuple[str, ...], file: Path, other: Path
) -> None:
    """DataError where two files number their classes differently."""
    if names != first:
        raise DataError(
            f"{printable(file)} and {printable(other)} number their classes differently: "
            f"{name_some(first)}, and {name_some(names) or 'no names'}",
            "write both with the same ClassLabel, or give one of them",
        )


def read_schema(path: Path) -> Any:
    """The Arrow schema of a file; DataError if it can't be read."""
    try:
        return pa.parquet.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> DataError:
    """The error for a file that is no Parquet file or a damaged one."""
    return DataError(
        f"{printable(path)} can't be read as a Parquet file: {printable(error)}", "fetch it again"
    )
