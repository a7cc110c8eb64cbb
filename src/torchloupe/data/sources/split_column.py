"""The split that the columns of a table give each row: words such as train, or flags."""

import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.sources.column_names import FOLD_COLUMNS
from torchloupe.data.sources.column_roles import plain_name
from torchloupe.data.sources.flags import find_unflagged, read_flags
from torchloupe.data.sources.source import name_some
from torchloupe.data.sources.split_names import (
    are_development,
    is_short_train,
    is_vague_name,
    read_cells,
    read_split,
    read_split_name,
)
from torchloupe.data.sources.split_roles import SplitColumns, flag_part
from torchloupe.data.split import SPLIT_NAMES, TEST, TRAIN, VAL
from torchloupe.errors import DataError, UsageError, did_you_mean, printable

# Columns whose 0, 1 and 2 mean train, val and test.
_NUMBERED = (
    "split",
    "splits",
    "set",
    "subset",
    "partition",
    "part",
    "data_split",
    "eval_partition",
)

_NAMES = ("train", "training", "val", "valid", "validation", "test", "testing")
# What people write into rows that are for nothing.
_ASIDE = re.compile(
    "unused|not used|excluded?|ignored?|skip(ped)?|drop(ped)?|removed?|discard(ed)?|none|na|nan"
    "|unlabel+ed|unknown|un-?assigned|unspecified",
    re.IGNORECASE,
)

Texts = dict[str, NDArray[Any]]


def read_split_columns(
    found: SplitColumns, texts: Texts, shown: str
) -> tuple[NDArray[np.int8] | None, tuple[str, ...]]:
    """The split of each row [N], None if no column gives one, and notes.

    `texts` are the columns' cells. DataError if a cell names no split.
    """
    given, used = _read(found, texts, shown), found.names
    if given is None:
        numbered = [name for name in found.doubtful if is_numbered(texts[name], name)]
        if len(numbered) == 1:
            given, used = _read_numbers(texts[numbered[0]]), (numbered[0],)
    notes = tuple(_note_unused(texts[name], name) for name in found.doubtful if name not in used)
    if given is None:
        return None, notes
    is_said = used[0].lower() == "split" and not found.is_asked_for
    if not is_said or are_development(np.unique(texts[used[0]]).tolist()):
        counts = count_splits(given)
        notes = (f"the split is that of column {name_some(used)}: {counts}", *notes)
    return given, notes


def count_splits(given: NDArray[np.int8]) -> str:
    """How many rows are in each split: `120 train, 30 test`."""
    counts = [(SPLIT_NAMES[part], int((given == part).sum())) for part in (TRAIN, VAL, TEST)]
    return ", ".join(f"{count:,} {name}" for name, count in counts if count)


def _read(found: SplitColumns, texts: Texts, shown: str) -> NDArray[np.int8] | None:
    if not found.names:
        return None
    name = found.names[0]
    if found.val_cells or found.test_cells:
        return _read_asked(found, texts[name], shown)
    if found.is_flags and (not found.is_asked_for or not len(find_unflagged(texts[name]))):
        return _read_flag_columns(found, texts, shown)
    if is_numbered(texts[name], name, is_sure=found.is_asked_for):
        return _read_numbers(texts[name])
    return _read_words(texts[name], name, shown)


def _read_asked(found: SplitColumns, texts: NDArray[Any], shown: str) -> NDArray[np.int8]:
    """The split of rows whose cells were named as those of val and of test."""
    given = np.full(len(texts), TRAIN, dtype=np.int8)
    known = np.unique(texts).tolist()
    for part, cells in ((VAL, found.val_cells), (TEST, found.test_cells)):
        for cell in cells:
            if cell not in known:
                raise UsageError(
                    f"{shown}: column {printable(found.names[0])!r} holds no {printable(cell)!r} "
                    "(data.split_column)",
                    did_you_mean(cell, known),
                )
            given[texts == cell] = part
    return given


def is_numbered(texts: NDArray[Any], name: str, is_sure: bool = False) -> bool:
    """Whether cells count the splits: 0, 1 and 2, and, unless it is sure, most rows are of 0."""
    if plain_name(name) not in _NUMBERED:
        return False
    found, counts = np.unique(texts, return_counts=True)
    is_most = is_sure or 2 * int(counts[0]) >= len(texts)
    return found.tolist() == ["0", "1", "2"] and is_most


def _read_numbers(texts: NDArray[Any]) -> NDArray[np.int8]:
    parts = {"0": TRAIN, "1": VAL, "2": TEST}
    return np.array([parts[text] for text in texts.tolist()], dtype=np.int8)


def _note_unused(texts: NDArray[Any], name: str) -> str:
    """A note on a column that may be about splits, with the setting that uses it."""
    found, counts = np.unique(texts, return_counts=True)
    able = np.array([read_split(cell) != TRAIN and not is_short_train(cell) for cell in found])
    counts = np.where(able, counts, len(texts) + 1)
    rarest = found[np.flatnonzero(counts == counts.min())[-1]]
    typed = f"--set {shlex.quote(f'data.split_column={name}:test={rarest}')}"
    return (
        f"column {printable(name)!r} looks like a split column but is not used: it holds "
        f"{name_some(found.tolist(), 3)}; {printable(typed)} tests with the rows of "
        f"{printable(rarest)!r}"
    )


def _read_words(texts: NDArray[Any], name: str, shown: str) -> NDArray[np.int8]:
    found, codes = np.unique(texts, return_inverse=True)
    parts = _read_public(read_cells([str(value) for value in found]))
    unknown = [value for value, part in parts.items() if part is None]
    if unknown:
        raise DataError(
            f"{shown}: column {printable(name)!r} holds {name_some(unknown)}",
            _say_what_for(name, parts, unknown),
        )
    if are_development(list(parts)):
        parts = {cell: TEST if part == TEST else TRAIN for cell, part in parts.items()}
    lookup = np.array(list(parts.values()), dtype=np.int8)
    return np.asarray(lookup[codes.reshape(-1)], dtype=np.int8)


def _say_what_for(name: str, parts: dict[str, int | None], unknown: list[str]) -> str:
    """The hint for cells that name no split: what to type, or to write in their place."""
    if "" in unknown:
        return "fill the empty cells or take their rows out; data.split_column=none uses no column"
    if aside := [value for value in unknown if _ASIDE.fullmatch(value)]:
        return f"take the rows of {name_some(aside)} out, if they are for nothing"
    cells = {part: [v for v, p in parts.items() if p == part] for part in (VAL, TEST)}
    near = {value: difflib.get_close_matches(value.lower(), _NAMES, 1, 0.75) for value in unknown}
    for value, found in near.items():
        if found and (part := read_split(found[0])) in cells:
            cells[part].append(value)
    rest = [value for value in unknown if not near[value]]
    is_fold = plain_name(name) in FOLD_COLUMNS  # each fold may be for testing
    has_train = TRAIN in parts.values()
    is_other = len(rest) == 1 and has_train and not any(cells.values())  # train and `later`
    if (len(rest) == 1 and is_vague_name(rest[0])) or is_other or (rest and is_fold):
        free = [part for part in (TEST, VAL) if not cells[part]] or [TEST]
        cells[free[0]].append(rest.pop())
    typed = _type_cells(name, cells)
    none = "data.split_column=none uses no column"
    if not rest or is_fold:
        return f"say which are for what: data.split_column={typed}; {none}"
    if len(rest) == 1 and any(cells.values()):
        trains = f"data.split_column={typed} trains with the rows of '{printable(rest[0], 40)}'"
        part = next((part for part in (TEST, VAL) if not cells[part]), TEST)
        other = _type_cells(name, {**cells, part: [*cells[part], rest[0]]})
        others = f", data.split_column={other} does not" if has_train else ""
        return f"say which are for what: {trains}{others}; {none}"
    return (
        "say which cells are for val and for test, and train with the others: "
        f"data.split_column={printable(name)}:val=CELL:test=CELL; {none}"
    )


def _type_cells(name: str, cells: Mapping[int, Sequence[str]]) -> str:
    """What to type for these cells of val and of test."""
    said = [f"{SPLIT_NAMES[part]}={','.join(found)}" for part, found in cells.items() if found]
    return printable(":".join((name, *said)))


def _read_public(parts: dict[str, int | None]) -> dict[str, int | None]:
    """Kaggle's PublicTest and PrivateTest: val and test where both are there, else test."""
    frames = {}
    for value in parts:
        named = read_split_name(value)
        if named is not None and named.part == TEST and named.frame in (("public",), ("private",)):
            frames[value] = named.frame[0]
    has_both = len(set(frames.values())) > 1 and VAL not in parts.values()
    for value, frame in frames.items():
        parts[value] = VAL if frame == "public" and has_both else TEST
    return parts


def _read_flag_columns(found: SplitColumns, texts: Texts, shown: str) -> NDArray[np.int8]:
    given = np.full(len(texts[found.names[0]]), TRAIN, dtype=np.int8)
    count = np.zeros(len(given), dtype=np.int64)
    for name in found.names:
        wrong = find_unflagged(texts[name])
        if len(wrong):
            raise DataError(
                f"{shown}: column {printable(name)!r} holds {printable(texts[name][wrong[0]])!r}, "
                "not 0 or 1",
                "fill the cell, or rename the column if it means something else",
            )
        is_set = read_flags(texts[name])
        if found.names == (name,) and flag_part(name) == TRAIN:
            given[~is_set] = TEST
        given[is_set] = flag_part(name)
        count += is_set
    if (count > 1).any():
        raise DataError(
            f"{shown}: row {np.flatnonzero(count > 1)[0] + 1} below the header is in more than one "
            f"split by the columns {name_some(found.names)}",
            "write train, val or test into one column named split",
        )
    return given
