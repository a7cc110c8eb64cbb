"""Tables that list image files: `.csv`, `.tsv` and `.parquet`, with a column of labels.

Cells are read as text, so that a label 007 stays 007. Paths are relative to the table's folder;
where they lead is the user's own choice.
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.samples import Samples
from torchloupe.data.sources.columns import Table, as_texts, choose_column, label_columns
from torchloupe.data.sources.labels import compare_splits, order_classes
from torchloupe.data.sources.source import (
    SPLIT_WORDS,
    Data,
    FileReader,
    make_stamp,
    name_some,
    short_name,
)
from torchloupe.data.split import TRAIN
from torchloupe.errors import DataError, UsageError, printable
from torchloupe.units import plural

TABLE_ENDINGS = (".csv", ".tsv", ".parquet")


def open_table(
    path: Path,
    *,
    image_column: str = "auto",
    label_column: str = "auto",
    class_names: Sequence[str] = (),
) -> Data:
    """Data from a table with one row an image.

    A label cell `a|b` holds several labels; `label_column="a,b"` names several columns of 0
    and 1. The columns `split` (train, val, test) and `group` are used where present.
    """
    shown = printable(path)
    reading = Table(path)
    image = choose_column(reading, "image", image_column)
    labelled = label_columns(reading, label_column, image)
    lower = {name.lower(): name for name in reversed(reading.columns)}
    extra = [lower[name] for name in ("split", "group") if name in lower]
    extra = [name for name in extra if name != image and name not in labelled]
    table = reading.read(list(dict.fromkeys([image, *labelled, *extra])))
    if not table.num_rows:
        raise DataError(f"{shown} lists no image", "add one row an image below the header")
    names = as_texts(table[image], image)
    _refuse_blank(names, image, shown)
    labels, classes, notes = (
        _one_column(table[labelled[0]], labelled[0], class_names, shown)
        if len(labelled) == 1
        else _several_columns(table, labelled, class_names, shown)
    )
    given = groups = None
    for name in extra:
        if name.lower() == "split":
            given = _read_splits(table[name], name, shown)
            notes += compare_splits(labels, given, classes)
        else:
            groups = np.unique(as_texts(table[name], name), return_inverse=True)[1].astype(np.int64)
    root = os.fspath(path.absolute().parent)
    facts = _look_up(root, names)
    notes += _missing(facts, names, shown, root)
    ids, repeated = _distinct(names)
    return Data(
        name=short_name(path.stem),
        kind="table",
        samples=Samples(ids, labels, classes, groups),
        given=given if given is not None and (given != TRAIN).any() else None,
        reader=FileReader(root, names, {}),
        notes=notes + repeated,
        stamp=make_stamp(names, facts),
    )


def _refuse_blank(texts: NDArray[Any], column: str, shown: str) -> None:
    blank = np.flatnonzero(texts == "")
    if len(blank):
        raise DataError(
            f"{shown} has {plural(len(blank), 'empty cell')} in column {printable(column)!r}, "
            f"the first in row {blank[0] + 1} below the header",
            "fill the cell or take the row out",
        )


def _one_column(
    column: Any, name: str, class_names: Sequence[str], shown: str
) -> tuple[NDArray[Any], tuple[str, ...], tuple[str, ...]]:
    texts = np.strings.strip(as_texts(column, name))
    found, codes = np.unique(texts, return_inverse=True)
    values = [str(value) for value in found]
    if not any("|" in value for value in values):
        _refuse_blank(texts, name, shown)
        classes, lookup = order_classes(values, class_names)
        return lookup[codes.reshape(-1)], classes, ()
    sets = [[word.strip() for word in value.split("|") if word.strip()] for value in values]
    words = sorted({word for words in sets for word in words})
    classes, lookup = order_classes(words, class_names)
    place = dict(zip(words, lookup, strict=True))
    rows = np.zeros((len(values), len(classes)), dtype=np.float32)
    for row, own in zip(rows, sets, strict=True):
        row[[place[word] for word in own]] = 1
    note = f"label cells with | hold several labels: this is multi-label, {len(classes)} labels"
    return rows[codes.reshape(-1)], classes, (note,)


def _several_columns(
    table: Any, columns: Sequence[str], class_names: Sequence[str], shown: str
) -> tuple[NDArray[Any], tuple[str, ...], tuple[str, ...]]:
    if class_names and len(class_names) != len(columns):
        raise UsageError(
            f"data.class_names has {len(class_names)} names for {len(columns)} label columns",
            "leave class_names out: the columns' names are the classes",
        )
    labels = np.zeros((table.num_rows, len(columns)), dtype=np.float32)
    for number, name in enumerate(columns):
        texts = as_texts(table[name], name)
        yes = np.isin(np.strings.lower(texts), np.array(["1", "1.0", "true"], texts.dtype))
        no = np.isin(np.strings.lower(texts), np.array(["0", "0.0", "false"], texts.dtype))
        if not (yes | no).all():
            wrong = texts[np.flatnonzero(~(yes | no))[0]]
            raise DataError(
                f"{shown}: label column {printable(name)!r} holds {printable(wrong)!r}, not 0 or 1",
                "several label columns are 0 and 1 each; for one label give one column",
            )
        labels[:, number] = yes
    return labels, tuple(class_names) or tuple(columns), ()


def _read_splits(column: Any, name: str, shown: str) -> NDArray[np.int8]:
    found, codes = np.unique(as_texts(column, name), return_inverse=True)
    unknown = [value for value in found if value.strip().lower() not in SPLIT_WORDS]
    if unknown:
        raise DataError(
            f"{shown}: column {printable(name)!r} holds {name_some(unknown)}",
            "its cells are train, val or test; give the column another name if it means else",
        )
    lookup = np.array([SPLIT_WORDS[value.strip().lower()] for value in found], dtype=np.int8)
    return np.asarray(lookup[codes.reshape(-1)], dtype=np.int8)


def _look_up(root: str, names: NDArray[Any]) -> NDArray[np.int64]:
    """Size and times of change [N, 3] of each file; -1 where there is none."""
    facts = np.full((len(names), 3), -1, dtype=np.int64)
    for row, name in enumerate(names):
        try:
            found = os.stat(os.path.join(root, name))  # noqa: PTH116, PTH118
        except (OSError, ValueError):
            continue
        facts[row] = (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return facts


def _missing(
    facts: NDArray[np.int64], names: NDArray[Any], shown: str, root: str
) -> tuple[str, ...]:
    """A note on files that are not there; DataError when most are: then it is the paths."""
    missing = np.flatnonzero(facts[:, 0] < 0)
    if not len(missing):
        return ()
    text = (
        f"{shown} lists {plural(len(missing), 'file')} of {len(names):,} that can't be found: "
        f"{name_some(names[missing], 3)}"
    )
    if len(missing) * 2 > len(names):
        raise DataError(text, f"paths are relative to the table's folder, {printable(root)}")
    return (text,)


def _distinct(names: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Ids from names: a file listed again gets #2, #3; with a note that it is."""
    found, counts = np.unique(names, return_counts=True)
    again = set(found[counts > 1])
    if not again:
        return names, ()
    seen: Counter[str] = Counter()
    ids = names.copy()
    for row in np.flatnonzero(np.isin(names, found[counts > 1])):
        name = names[row]
        seen[name] += 1
        if seen[name] > 1:
            ids[row] = f"{name}#{seen[name]}"
    listed = plural(len(again), "file is", "files are")
    return ids, (f"{listed} listed more than once: {name_some(sorted(again), 3)}",)
