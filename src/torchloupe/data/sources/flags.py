"""Cells that say yes or no: 1 and 0, true and false, 1 and -1; and those that say neither."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.units import plural

_YES = frozenset(("1", "1.0", "true", "t", "yes", "y"))
_NO = frozenset(("0", "0.0", "-1", "-1.0", "false", "f", "no", "n"))
FLAG_WORDS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "0.": 0, "1.": 1} | {
    **dict.fromkeys(("True", "true"), 1),
    **dict.fromkeys(("False", "false"), 0),
}  # in lists and text
_BLANKS_MEANT = 0.1  # share of empty cells from which they are no mistake

Texts = NDArray[Any]


def read_flags(texts: Texts) -> NDArray[np.bool_]:
    """Where a cell says yes: 1, true, yes."""
    return _are(np.strings.lower(texts), _YES)


def find_unflagged(texts: Texts) -> NDArray[np.int64]:
    """The rows whose cell says neither yes nor no."""
    return np.flatnonzero(~_are(np.strings.lower(texts), _YES | _NO))


def holds_flags(texts: Texts | None, may_be_blank: bool = False) -> bool:
    """Whether all cells say yes or no; with `may_be_blank` all that say anything."""
    if texts is None or not len(texts):
        return False
    said = texts[texts != ""] if may_be_blank else texts
    return len(said) > 0 and not len(find_unflagged(said))


def note_unsure_flags(columns: Sequence[Texts]) -> tuple[str, ...]:
    """Notes on cells of label columns that are counted as 0 and may mean something else.

    -1 beside 0 and 1 is not sure; empty cells where they are many say nothing, as in CheXpert.
    Without a note an empty cell is a mistake.
    """
    cells = sum(map(len, columns))
    minus = sum(int(_are(texts, ("-1", "-1.0")).sum()) for texts in columns)
    has_zeros = any(_are(texts, ("0", "0.0")).any() for texts in columns)
    blank = sum(int((texts == "").sum()) for texts in columns)
    is_graded = bool(minus) and has_zeros
    if not is_graded and blank < max(1, _BLANKS_MEANT * cells):
        return ()
    notes = []
    if is_graded:
        notes.append(
            f"{plural(minus, 'label')} of {cells:,} {'is' if minus == 1 else 'are'} -1 beside 0 "
            "and 1, which may mean uncertain, and counted as 0: write 1, or take these rows out, "
            "to have it otherwise"
        )
    if blank:
        notes.append(
            f"{plural(blank, 'empty label cell')} of {cells:,} {'is' if blank == 1 else 'are'} "
            "counted as 0"
        )
    return tuple(notes)


def _are(texts: Texts, words: Sequence[str] | frozenset[str]) -> NDArray[np.bool_]:
    return np.isin(texts, np.array(sorted(words), dtype=np.dtypes.StringDType()))


def width_of_flags(cells: Sequence[Sequence[str]]) -> int:
    """How many labels distinct cells such as `[1, 0, 0]` say yes or no to; 0 for other cells."""
    width = len(cells[0]) if cells else 0
    if width < 2 or any(len(cell) != width for cell in cells):
        return 0
    are_flags = all(word in FLAG_WORDS for cell in cells for word in cell)
    return width if are_flags and (len(cells) > 1 or width > 2) else 0
