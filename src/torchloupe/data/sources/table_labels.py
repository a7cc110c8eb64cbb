"""The labels of a table, with names for class numbers: its own names go before lists beside it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from torchloupe.data.sources.column_roles import folders_of
from torchloupe.data.sources.columns import as_texts
from torchloupe.data.sources.flags import find_unflagged, note_unsure_flags, read_flags
from torchloupe.data.sources.label_cells import Labels, read_label_cells, refuse_blank
from torchloupe.data.sources.name_lists import list_names, name_by_column, name_numbers
from torchloupe.data.sources.object_cells import read_object
from torchloupe.data.sources.source import ClassNames, Data, name_some
from torchloupe.data.split import SPLIT_NAMES, TRAIN
from torchloupe.errors import DataError, UsageError, printable


@dataclass(frozen=True, eq=False)
class TableLabels:
    """Labels [N] int64 or [N, K] float32, the classes, notes, and the names given to numbers."""

    labels: NDArray[Any]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    named: ClassNames | None = None


def read_table_labels(
    read: Any,
    image: str,
    labelled: Sequence[str],
    by: str,
    path: Path,
    separator: str,
    class_names: Sequence[str],
) -> TableLabels:
    """The labels in the columns `labelled` of an Arrow table; column `by` may name the classes.

    Where the column `image` is that of the labels, too, they are the folders in its paths.
    DataError for cells that are no labels.
    """
    shown = printable(path)
    if len(labelled) > 1:
        return TableLabels(*_read_flag_columns(read, labelled, class_names, shown))
    name = labelled[0]
    column = read[name]
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        plain = [read_object(words) or words or () for words in column.to_pylist()]
        lists = [[w if isinstance(w, dict) else str(w) for w in words] for words in plain]
        cells = [json.dumps(words, default=str) for words in lists]
        texts = np.array(cells, dtype=np.dtypes.StringDType())
    else:
        texts = np.strings.strip(as_texts(column, name))
    notes: list[str] = []
    named = None
    if name == image:
        texts = np.array(folders_of(texts.tolist()), dtype=np.dtypes.StringDType())
        refuse_blank(texts, name, shown)
    if not class_names:
        names = np.strings.strip(as_texts(read[by], by)) if by else None
        told, notes = _name_classes(texts, names, path, name, by)
        if told is not texts:
            own = dict(zip(map(int, texts.tolist()), told.tolist(), strict=True))
            named = ClassNames(own, is_listed=told is not names)
        texts = told
    labels, classes, more = read_label_cells(texts, name, separator, class_names, shown)
    if name == image:
        notes.insert(0, f"the labels are the folders in the paths of column {printable(name)!r}")
    return TableLabels(labels, classes, (*notes, *more), named)


def _name_classes(
    texts: NDArray[Any], names: NDArray[Any] | None, path: Path, column: str, by: str
) -> tuple[NDArray[Any], list[str]]:
    """Names in place of numbers: those of the table, else those of a list beside it; notes.

    What is returned is `texts` itself where numbers stay, or are none.
    """
    if names is None:
        return name_numbers(texts, path, column)
    told, notes = name_by_column(texts, names, column, by)
    if told is texts:
        told, more = name_numbers(texts, path, column)
        return told, [*notes, *more]
    own = dict(zip(texts.tolist(), told.tolist(), strict=True))
    lists = list_names(list(own), path, column)
    other = {number: lists.names.get(int(number), name) for number, name in own.items()}
    if lists.names and (wrong := min((n for n in own if own[n] != other[n]), default="")):
        files = name_some(sorted(file.name for file in lists.files))
        notes.append(
            f"{files} beside the table is not used: {wrong} is {printable(other[wrong])!r} there, "
            f"and {printable(own[wrong])!r} in column {printable(by)!r}"
        )
    return told, notes


def name_alike(parts: Mapping[int, Data]) -> dict[int, Data]:
    """The tables of all splits, with the names that one gives its class numbers in the others, too.

    DataError where two give one number different names and another has the numbers alone, or
    where the names are those of one list, counted from 0 and from 1.
    """
    told: dict[int, str] = {}
    several: dict[int, tuple[str, str]] = {}
    known = [data.named for data in parts.values() if data.named is not None]
    for number, name in (item for named in known for item in named.names.items()):
        if told.setdefault(number, name) != name:
            several[number] = (told[number], name)
    bare = {part: _numbers_of(data) for part, data in parts.items()}
    bare = {
        part: numbers for part, numbers in bare.items() if numbers and set(numbers) <= set(told)
    }
    if several and (bare or any(named.is_listed for named in known)):
        number, (one, other) = min(several.items())
        raise DataError(
            f"class {number} is {printable(one)!r} in one split and {printable(other)!r} in "
            "another",
            "give each class number one name in the tables of all splits, or write the numbers "
            "before the names in the list",
        )
    alike = dict(parts)
    for part, numbers in bare.items():
        data = parts[part]
        classes = tuple(told[number] for number in numbers)
        notes = [note for note in data.notes if "and the numbers stay" not in note]
        source = SPLIT_NAMES[next((p for p, other in parts.items() if other.named), TRAIN)]
        notes.append(f"class numbers of {SPLIT_NAMES[part]} are named as those of {source}")
        samples = replace(data.samples, class_names=classes)
        alike[part] = replace(data, samples=samples, notes=tuple(notes))
    return alike


def _numbers_of(data: Data) -> list[int]:
    """The numbers that the classes of a table are called by; [] where they have names."""
    names = data.samples.class_names
    if data.named is not None or not all(name.isdecimal() for name in names):
        return []
    return [int(name) for name in names]


def _read_flag_columns(
    read: Any, columns: Sequence[str], class_names: Sequence[str], shown: str
) -> Labels:
    """Labels from columns of 0 and 1: class numbers where every row has exactly one 1."""
    if class_names and len(class_names) != len(columns):
        raise UsageError(
            f"data.class_names has {len(class_names)} names for {len(columns)} label columns",
            "leave class_names out: the columns' names are the classes",
        )
    cells = [np.strings.strip(as_texts(read[name], name)) for name in columns]
    notes = note_unsure_flags(cells)
    labels = np.zeros((read.num_rows, len(columns)), dtype=np.float32)
    for number, (name, texts) in enumerate(zip(columns, cells, strict=True)):
        wrong = [texts[row] for row in find_unflagged(texts) if texts[row] or not notes]
        if wrong:
            raise DataError(
                f"{shown}: label column {printable(name)!r} holds {printable(wrong[0])!r}, not 0 "
                "or 1",
                "several label columns are 0 and 1 each; for one label give one column",
            )
        labels[:, number] = read_flags(texts)
    classes = tuple(class_names) or tuple(columns)
    if (labels.sum(axis=1) == 1).all():
        return labels.argmax(axis=1).astype(np.int64), classes, notes
    note = f"an image may have several of the {len(columns)} labels: this is multi-label"
    return labels, classes, (note, *notes)
