"""Cells that hold several labels: `sea|sky`, `["sea", "sky"]`, or what a separator cuts.

A bar and lists are certain. Commas, spaces and the like may be part of a label's name: they are
used where the setting data.label_separator says so, and pointed out where they look like it.
"""

import ast
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.sources.flags import FLAG_WORDS, width_of_flags
from torchloupe.data.sources.labels import order_classes
from torchloupe.data.sources.missing_labels import note_missing_labels
from torchloupe.data.sources.object_cells import are_labels, read_object
from torchloupe.data.sources.quantities import note_distinct, note_quantity, refuse_quantities
from torchloupe.data.sources.spelling import compose, note_joined, note_twins
from torchloupe.errors import DataError, UsageError, printable

NAMED_SEPARATORS = {
    **{"comma": ",", "semicolon": ";", "space": " ", "bar": "|", "pipe": "|"},
    **{"tab": "\t", "newline": "\n", "slash": "/", "plus": "+", "and": " and "},
}
# What people put between labels; and of these, what names of one label hold as well.
_POSSIBLE = (",", ";", "\n", "+", "&", "/", " and ", " ", "_", "-")
_IN_NAMES = ("+", "&", "/", " and ", " ", "_", "-")
# How a shell takes them.
_TYPED = {" ": "space", ";": "semicolon", "&": "'&'", "\n": "newline", " and ": "and"}

_WHOLE = re.compile(r"[+-]?\d+\.0+")
_BOX = re.compile(r"(\S*[^\s\d.]\S*)(?: +-?\d+(?:\.\d+)?){4}(?= |$)")
_BOXES = re.compile(rf"{_BOX.pattern}(?: +{_BOX.pattern})* *")

_NUMBERS = re.compile(r"[\d.]+(\s+[\d.]+)+")
_SPACED_FLAGS = re.compile(r"[ ,;]+")
_IN_BRACKETS = "in brackets"

Labels = tuple[NDArray[Any], tuple[str, ...], tuple[str, ...]]


def read_label_cells(
    texts: NDArray[Any], column: str, separator: str, class_names: Sequence[str], shown: str
) -> Labels:
    """Labels, class names and notes from a column: [N] int64, or [N, K] float32 for several.

    `separator` is auto, none, a text or the name of one. DataError for an empty cell where each
    image has one label.
    """
    if not separator:
        raise UsageError("data.label_separator is empty", "for example data.label_separator=,")
    texts, boxes = _without_boxes(_as_whole_numbers(texts), separator)
    texts = _read_objects(_without_quotes(texts), column, shown)
    if boxes:
        labels, classes, notes = read_label_cells(texts, column, "auto", class_names, shown)
        return labels, classes, (boxes, *notes)
    found, codes = np.unique(texts, return_inverse=True)
    values = [str(value) for value in found]
    cells, how = _cut(values, separator)
    if cells is None:
        refuse_blank(texts, column, shown)
        refuse_quantities(values, len(texts), column, shown)
        classes, lookup = order_classes(values, class_names)
        notes = (*note_joined(values), *note_twins(classes), *_note_several(values, separator))
        if not class_names:
            counts = np.bincount(codes.reshape(-1))
            odd = note_quantity(values, counts, column)
            notes = (*notes, *(odd or note_distinct(values, len(texts), column)))
            what = f"cells of column {printable(column)!r}"
            notes = (*notes, *note_missing_labels(values, counts, what))
        return lookup[codes.reshape(-1)], classes, notes
    if width := width_of_flags(cells):
        names = tuple(class_names) or tuple(map(str, range(width)))
        return _read_flags(cells, codes.reshape(-1), names, values[0])
    words = sorted({word for cell in cells for word in cell})
    classes, lookup = order_classes(words, class_names)
    place = dict(zip(words, lookup, strict=True))
    rows = np.zeros((len(values), len(classes)), dtype=np.float32)
    for row, own in zip(rows, cells, strict=True):
        row[[place[word] for word in own]] = 1
    if how == _IN_BRACKETS and all(len(cell) == 1 for cell in cells):
        notes = (*note_joined(words), *note_twins(classes))
        return rows.argmax(axis=1).astype(np.int64)[codes.reshape(-1)], classes, notes
    note = f"label cells {how} hold several labels: this is multi-label, {len(classes)} labels"
    if separator not in ("auto", "none") and all(len(cell) < 2 for cell in cells):
        note = (
            f"no cell of column {printable(column)!r} holds several labels (data.label_separator="
            f"{printable(separator)}): this is multi-label, {len(classes)} labels"
        )
    return rows[codes.reshape(-1)], classes, (note, *note_joined(words), *note_twins(classes))


def _read_flags(
    cells: Sequence[Sequence[str]], codes: NDArray[Any], names: tuple[str, ...], shown: str
) -> Labels:
    """Labels from cells that hold 0 or 1 for each: class numbers where each has exactly one 1."""
    rows = np.array([[FLAG_WORDS[word] for word in cell] for cell in cells], dtype=np.float32)
    if len(names) != rows.shape[1]:
        raise UsageError(
            f"data.class_names has {len(names)} names for cells of {rows.shape[1]} flags",
            "name every label, in order",
        )
    note = f"label cells such as '{printable(shown, 40)}' hold 0 or 1 for each of {len(names)} "
    if (rows.sum(axis=1) == 1).all():
        return rows.argmax(axis=1).astype(np.int64)[codes], names, (f"{note}classes",)
    return rows[codes], names, (f"{note}labels: this is multi-label",)


def refuse_blank(texts: NDArray[Any], column: str, shown: str) -> None:
    """DataError if a cell is empty."""
    blank = np.flatnonzero(texts == "")
    if len(blank):
        count = f"{len(blank):,} empty cell{'s' if len(blank) > 1 else ''}"
        raise DataError(
            f"{shown} has {count} in column {printable(column)!r}, "
            f"the first in row {blank[0] + 1} below the header",
            "fill the cell or take the row out",
        )


def _cut(values: Sequence[str], separator: str) -> tuple[list[list[str]] | None, str]:
    """The labels in each cell, and how a note calls such cells; None if each holds one."""
    if separator == "none":
        return None, ""
    if _are_lists([value for value in values if value]):
        return [_read_list(value) for value in values], _IN_BRACKETS
    if separator == "auto":
        if listed := {value: found for value in values if (found := _quoted(value))}:
            return [listed.get(v) or ([v] if v else []) for v in values], _IN_BRACKETS
        flags = [_SPACED_FLAGS.split(value) for value in values]
        is_one_hot = len(values) > 1 and all(len(set(cell)) == 2 for cell in flags)
        if width_of_flags(flags) > (1 if is_one_hot else 2):
            return flags, ""
        if not any("|" in value for value in values):
            return None, ""
        separator = "|"
    sign = NAMED_SEPARATORS.get(separator, separator)
    cells = [[word.strip() for word in value.split(sign) if word.strip()] for value in values]
    return cells, f"with {printable(separator)}"


def _are_lists(values: Sequence[str]) -> bool:
    """Whether all cells stand in brackets or braces, or in parentheses with quotes."""
    for opening, closing in ("[]", "{}", "()"):
        if values and all(v[0] == opening and v[-1] == closing and len(v) > 1 for v in values):
            return opening != "(" or any("'" in value or '"' in value for value in values)
    return False


def _quoted(value: str) -> list[str]:
    """The labels of a cell that is a list of texts, `["a", "b"]`; [] for any other cell."""
    if value[:1] != "[" or value[-1:] != "]":
        return []
    found = _parse(value)
    is_list = isinstance(found, list) and all(isinstance(word, str) for word in found)
    return _read_list(value) if is_list and found else []


def _as_whole_numbers(texts: NDArray[Any]) -> NDArray[Any]:
    """`0.0`, `1.0` as 0 and 1 where all labels are so: a number that went through a float."""
    found = np.unique(texts)
    if not len(found) or not all(_WHOLE.fullmatch(str(value)) for value in found):
        return texts
    plain = [str(text).partition(".")[0] for text in texts.tolist()]
    return np.array(plain, dtype=np.dtypes.StringDType())


def _without_quotes(texts: NDArray[Any]) -> NDArray[Any]:
    """Texts without the single quotes in which all of them stand."""
    is_in = np.strings.startswith(texts, "'") & np.strings.endswith(texts, "'")
    is_in &= np.strings.str_len(texts) > 1
    return np.strings.strip(texts, "'") if len(texts) and is_in.all() else texts


def _without_boxes(texts: NDArray[Any], separator: str) -> tuple[NDArray[Any], str]:
    """Labels out of `cat 10 20 60 80 dog 5 5 9 9`, and a note; with "" where cells are others."""
    if separator != "auto" or not len(texts) or not _BOXES.fullmatch(str(texts[0])):
        return texts, ""
    found, codes = np.unique(texts, return_inverse=True)
    if not all(_BOXES.fullmatch(str(value)) for value in found):
        return texts, ""
    named = [list(dict.fromkeys(_BOX.findall(str(value)))) for value in found]
    is_single = all(len(names) == 1 for names in named)
    cells = [names[0] if is_single else json.dumps(names) for names in named]
    plain = np.array(cells, dtype=np.dtypes.StringDType())[codes.reshape(-1)]
    return plain, f"label cells such as '{printable(texts[0], 60)}' hold boxes, which are not used"


def _read_objects(texts: NDArray[Any], column: str, shown: str) -> NDArray[Any]:
    """The cells with the label in place of an object such as `{"name": "cat"}`; lists as JSON."""
    if not any(np.strings.startswith(texts, sign).any() for sign in ("{", "[{")):
        return texts
    plain = []
    cells, codes = np.unique(texts, return_inverse=True)
    for cell in map(str, cells):
        found = _parse(cell) if cell.startswith(("{", "[{")) else None
        label = read_object(found) if isinstance(found, (dict, list)) and found else found
        if isinstance(found, list) and not are_labels(label):
            label = None
        if label is None and found is not None:
            raise DataError(
                f"{shown}: column {printable(column)!r} holds objects such as "
                f"{printable(cell, 80)}: which of their values is the label is unknown",
                "write the label of each image into a column of its own",
            )
        if isinstance(found, (dict, list)):
            plain.append(json.dumps(label) if isinstance(label, list) else str(label or ""))
        else:
            plain.append(cell)
    return np.array(plain, dtype=np.dtypes.StringDType())[codes.reshape(-1)]


def _parse(text: str) -> Any:
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return None


def _read_list(text: str) -> list[str]:
    """The labels in `["a", "b"]`, `['a' 'b']` or `[a, b]`."""
    inner = text[1:-1].strip()
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(found, (list, tuple, set)) and all(
            isinstance(word, (str, int)) for word in found
        ):
            plain = sorted(found, key=str) if isinstance(found, set) else found
            if not _are_glued(inner, plain):
                return [str(word).strip() for word in plain if str(word).strip()]
    if _NUMBERS.fullmatch(inner):  # as numpy prints arrays
        return inner.split()
    quoted = inner.replace('"', "'")
    words = quoted.split("'")[1::2] if "'" in quoted else inner.split(",")
    return [word.strip() for word in words if word.strip()]


def _are_glued(inner: str, words: Sequence[Any]) -> bool:
    """Whether Python joined texts without a comma between them, as numpy prints its arrays."""
    return "," not in inner and len(words) == 1 and inner.count("'") + inner.count('"') > 2


def _note_several(values: Sequence[str], separator: str) -> tuple[str, ...]:
    """A note on cells that look like several labels and are read as one."""
    if separator != "auto":
        return ()
    whole = {compose(value) for value in values}
    for sign in _POSSIBLE:
        cut = {value: [w.strip() for w in value.split(sign)] for value in values if sign in value}
        cut = {value: words for value, words in cut.items() if all(words) and len(set(words)) > 1}
        uses = Counter(word for words in cut.values() for word in set(words))
        # Names share words, too. But few words make many combinations of labels only.
        is_varied = len(cut) > len(uses) + len(whole & set(uses))
        are_numbers = sign == " " and all(map(str.isdigit, uses))
        is_sure = sign not in _IN_NAMES or is_varied or are_numbers
        for value, words in cut.items():
            known = [w in whole or (is_sure and uses[w] > 1) for w in map(compose, words)]
            if all(known):
                typed = _TYPED.get(sign, sign)
                return (
                    f"label cells such as '{printable(value, 60)}' look like several labels, and "
                    f"are read as one: --set data.label_separator={typed} reads several, "
                    "data.label_separator=none one",
                )
    return ()
