"""Which columns of a table say the split: by what their cells say, or by their names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.sources.column_names import SPLIT_COLUMNS, TRAIN_FLAGS
from torchloupe.data.sources.column_roles import LABEL_COLUMNS, asked_for, is_row_number, plain_name
from torchloupe.data.sources.columns import Table
from torchloupe.data.sources.flags import holds_flags, read_flags
from torchloupe.data.sources.source import name_some
from torchloupe.data.sources.split_names import read_cells, read_split, read_split_name
from torchloupe.data.split import TEST, TRAIN, VAL
from torchloupe.errors import DataError, UsageError, printable

_MOST_PARTS = 4  # words of a column that may be about splits
_SHORT = frozenset(("tr", "te", "va", "vl", "ts", "tst", "trn"))


@dataclass(frozen=True)
class SplitColumns:
    """The columns that divide a table: one of words, or flags such as is_valid, by name."""

    names: tuple[str, ...] = ()
    is_flags: bool = False
    doubtful: tuple[str, ...] = ()  # may be about splits, and their first cells don't say how
    weak: tuple[str, ...] = ()  # of these, what may as well be the label
    is_asked_for: bool = False
    val_cells: tuple[str, ...] = ()  # as asked for; rows with other cells are for training
    test_cells: tuple[str, ...] = ()


def find_split_columns(
    table: Table, image: str, asked_label: str, asked: str = "auto"
) -> SplitColumns:
    """The columns whose cells say train, val and test, whatever they are called.

    `asked` is data.split_column: a column, `fold:val=3:test=4` with the cells of val and test, or
    none.
    """
    if asked == "none":
        return SplitColumns()
    if asked != "auto":
        return _read_asked_split(table, asked)
    labels = {name.strip() for name in asked_label.split(",")} | {asked_label}
    columns = [name for name in table.columns if name != image and name not in labels]
    if "split" in (lower := {name.lower(): name for name in columns}):
        return SplitColumns((lower["split"],))
    able = [name for name in columns if name.lower() not in LABEL_COLUMNS]
    worded = [name for name in able if _holds_splits(table.preview.get(name))]
    worded = worded or [name for name in columns if _surely_splits(table, name, columns)]
    if len(worded) > 1:
        usual = [name for name in worded if plain_name(name) in SPLIT_COLUMNS]
        if len(usual) != 1:
            raise DataError(
                f"{printable(table.path)} has several columns of splits: {name_some(worded)}",
                f"say which: data.split_column={printable(worded[0])}",
            )
        worded = usual
    if worded:
        return SplitColumns((worded[0],))
    doubtful = [
        name
        for name in columns
        if _may_split(plain_name(name)) or (name in able and _hints_at_splits(table, name))
    ]
    weak = tuple(name for name in doubtful if _may_be_label(table, name))
    flags = [
        name
        for name in doubtful
        if _flag_part(name) is not None and holds_flags(table.preview.get(name))
    ]
    if _are_certain(table, flags):
        rest = tuple(name for name in doubtful if name not in flags)
        return SplitColumns(tuple(flags), is_flags=True, doubtful=rest, weak=weak)
    return SplitColumns(doubtful=tuple(doubtful), weak=weak)


def _surely_splits(table: Table, name: str, columns: Sequence[str]) -> bool:
    """Whether each cell of a column names a split and several are named: also `tr` and `te`.

    The name is one of columns of splits, or one of labels where another column may be the label.
    """
    values = table.preview.get(name)
    others = [other for other in columns if other != name and not is_row_number(table, other)]
    is_named = plain_name(name) in SPLIT_COLUMNS
    if values is None or not (is_named or (name.lower() in LABEL_COLUMNS and others)):
        return False
    parts = set(read_cells(np.unique(values).tolist()).values())
    return None not in parts and TRAIN in parts and len(parts) > 1


def _may_split(name: str) -> bool:
    """Whether a plain name may be that of a column of splits: also `is_final_validation`."""
    flag = flag_name(name)
    is_flag = flag.startswith(("is_", "in_")) and read_split_name(flag[3:]) is not None
    return is_flag or name in SPLIT_COLUMNS


def flag_name(column: str) -> str:
    """The plain name of a column of flags: `is_test` for `istest`."""
    words = "train|training|test|testing|val|valid|validation"
    return re.sub(f"^(is|in)({words})$", r"\1_\2", plain_name(column))


def _may_be_label(table: Table, name: str) -> bool:
    """Whether a column may be the label: its name isn't one of splits, or its cells are words."""
    values = table.preview.get(name)
    if not _may_split(plain_name(name)) or values is None:
        return True
    found = np.unique(values).tolist()
    return not any(read_split(word) is not None or word.isdigit() for word in found)


def _hints_at_splits(table: Table, name: str) -> bool:
    """Whether few words of a column name a split and others may: train and eval, tr and te."""
    values = table.preview.get(name)
    found = set() if values is None else set(np.unique(values).tolist())
    if not 1 < len(found) <= _MOST_PARTS or not all(found):
        return False
    are_short = {word.lower() for word in found} <= _SHORT
    return are_short or any(read_split(word) is not None for word in found)


def _read_asked_split(table: Table, asked: str) -> SplitColumns:
    """The column in `fold`, or the column and its cells in `fold:val=3:test=4`."""
    name, *said = [asked] if asked in table.columns else asked.split(":")
    name = asked_for(table, "split", name.strip())
    cells: dict[int, tuple[str, ...]] = {}
    for text in said:
        word, _, values = text.partition("=")
        part = read_split(word)
        listed = tuple(value.strip() for value in values.split(",") if value.strip())
        if part not in (VAL, TEST) or part in cells or not listed:
            raise UsageError(
                f"data.split_column={printable(asked)} can't be read",
                f"for example data.split_column={printable(name)}:val=3:test=4",
            )
        cells[part] = listed
    return SplitColumns(
        (name,),
        is_flags=not cells and _flag_part(name) is not None,
        is_asked_for=True,
        val_cells=cells.get(VAL, ()),
        test_cells=cells.get(TEST, ()),
    )


def is_train_flag(column: str) -> bool:
    """Whether a column of flags says which rows are for training, and all others are held back."""
    return plain_name(column) in TRAIN_FLAGS


def flag_part(column: str) -> int:
    """Which split a column of flags is about; TRAIN for `is_train`."""
    part = _flag_part(column)
    return TRAIN if part is None else part


def _are_certain(table: Table, flags: Sequence[str]) -> bool:
    """Whether flags say of every row what it is for.

    `is_train` does: the others are held back. So do `is_valid` and `is_test` where they hold for
    half of the rows at most; `valid` alone may say that a row is sound, `train` alone anything.
    """
    if not flags:
        return False
    if len(flags) == 1 and is_train_flag(flags[0]):
        return True
    rows = np.stack([read_flags(table.preview[name]) for name in flags])
    if {flag_part(name) for name in flags} >= {TRAIN} and len(flags) > 1:
        return bool((rows.sum(axis=0) == 1).all())
    held_back = all(flag_name(name).startswith("is_") for name in flags)
    is_train = any(flag_part(name) == TRAIN for name in flags)
    return held_back and not is_train and bool((rows.sum(axis=0) <= 1).all() & (rows.mean() <= 0.5))


def _flag_part(column: str) -> int | None:
    found = read_split_name(re.sub("^(is|in)_", "", flag_name(column)))
    return found.part if found is not None and found.is_plain else None


def _holds_splits(values: NDArray[Any] | None) -> bool:
    """Whether cells name splits, or at least may: two different ones, or one and nothing else."""
    if values is None or not len(values):
        return False
    found = {_split_of(value) for value in np.unique(values).tolist()}
    named = found - {None}
    return len(named) > 1 or (found == named and TRAIN in found)


def _split_of(text: str) -> int | None:
    found = read_split_name(text)
    if found is not None and found.frame in (("public",), ("private",)):
        return found.part
    return read_split(text)
