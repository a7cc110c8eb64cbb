"""The split that the columns of a table give each row: words such as train, or flags."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.sources.column_roles import (
    SplitColumns,
    find_unflagged,
    flag_part,
    read_flags,
)
from torchloupe.data.sources.source import name_some
from torchloupe.data.sources.split_names import read_split, read_split_name
from torchloupe.data.split import SPLIT_NAMES, TEST, TRAIN, VAL
from torchloupe.errors import DataError, printable

Texts = dict[str, NDArray[Any]]


def read_split_columns(
    found: SplitColumns, texts: Texts, shown: str
) -> tuple[NDArray[np.int8] | None, tuple[str, ...]]:
    """The split of each row [N], None if no column gives one, and notes.

    `texts` are the columns' cells. DataError if a cell names no split.
    """
    notes = tuple(
        f"column {printable(name)!r} looks like a split column but is not used: it holds "
        f"{name_some(np.unique(texts[name]).tolist(), 3)}; write train, val and test into a "
        "column named split to use it"
        for name in found.doubtful
    )
    if not found.names:
        return None, notes
    if found.is_flags:
        given = _read_flag_columns(found, texts, shown)
    else:
        given = _read_words(texts[found.names[0]], found.names[0], shown)
    if found.names[0].lower() != "split":
        counts = ", ".join(
            f"{int((given == part).sum()):,} {SPLIT_NAMES[part]}"
            for part in (TRAIN, VAL, TEST)
            if (given == part).any()
        )
        notes = (f"the split is that of column {name_some(found.names)}: {counts}", *notes)
    return given, notes


def _read_words(texts: NDArray[Any], name: str, shown: str) -> NDArray[np.int8]:
    found, codes = np.unique(texts, return_inverse=True)
    parts = _read_public({str(value): read_split(str(value)) for value in found})
    unknown = [value for value, part in parts.items() if part is None]
    if unknown:
        raise DataError(
            f"{shown}: column {printable(name)!r} holds {name_some(unknown)}",
            "its cells are train, val or test; rename the column if it means something else",
        )
    lookup = np.array(list(parts.values()), dtype=np.int8)
    return np.asarray(lookup[codes.reshape(-1)], dtype=np.int8)


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
        given[is_set] = flag_part(name)
        count += is_set
    if (count > 1).any():
        raise DataError(
            f"{shown}: row {np.flatnonzero(count > 1)[0] + 1} below the header is in more than one "
            f"split by the columns {name_some(found.names)}",
            "write train, val or test into one column named split",
        )
    return given
