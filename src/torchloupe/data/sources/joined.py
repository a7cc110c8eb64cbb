"""Splits that stand in sources of their own, such as train.csv and val.csv, as one Data."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.samples import Samples
from torchloupe.data.sources.archived import MemberReader
from torchloupe.data.sources.labels import compare_splits, order_classes
from torchloupe.data.sources.row_groups import read_groups
from torchloupe.data.sources.source import (
    ArrayReader,
    Data,
    FileReader,
    make_stamp,
    name_some,
    short_name,
)
from torchloupe.data.sources.split_names import read_split
from torchloupe.data.sources.table_images import make_distinct
from torchloupe.data.sources.table_labels import name_alike
from torchloupe.data.sources.walk import as_text
from torchloupe.data.split import SPLIT_NAMES, TEST, TRAIN, VAL
from torchloupe.errors import DataError, UsageError, printable
from torchloupe.units import plural


def paths_of_splits(source: Any) -> dict[int, str] | None:
    """The path of each split from ("train.csv", "val.csv") or a dict of paths; else None."""
    if isinstance(source, Mapping):
        named = {read_split(str(key)): value for key, value in source.items()}
        if None in named or len(named) < len(source):
            return None
        parts = {part: value for part, value in named.items() if part is not None}
    elif isinstance(source, (tuple, list)) and len(source) in (2, 3):
        parts = dict(zip((TRAIN, VAL, TEST), source, strict=False))
    else:
        return None
    parts = {part: value for part, value in parts.items() if value is not None}
    if TRAIN not in parts or not all(isinstance(value, (str, Path)) for value in parts.values()):
        return None
    return {part: str(value) for part, value in sorted(parts.items())}


class PartsReader:
    """Images of several archives, one after the other."""

    def __init__(self, readers: Sequence[MemberReader], counts: Sequence[int]) -> None:
        self._readers = list(readers)
        self._ends = np.cumsum(counts)

    def read(self, row: int) -> bytes:
        """The bytes of the image of `row`."""
        part = int(np.searchsorted(self._ends, row, side="right"))
        return self._readers[part].read(row - int(self._ends[part - 1] if part else 0))


def join_splits(parts: Mapping[int, Data], name: str, class_names: Sequence[str] = ()) -> Data:
    """One Data from one for each split (TRAIN, VAL, TEST); classes are joined by name.

    DataError if a part is divided already, or where their images are of different kinds.
    """
    parts = parts if class_names else name_alike(parts)
    refuse_same_files(parts)
    listed = list(parts.values())
    for part, data in parts.items():
        if data.given is not None:
            raise DataError(
                f"the {SPLIT_NAMES[part]} data has splits of its own",
                "give that source alone, or remove its split column",
            )
    given = np.repeat(list(parts), [len(data.samples) for data in listed]).astype(np.int8)
    labels, classes = _join_labels(listed, class_names)
    notes = list(dict.fromkeys(note for data in listed for note in data.notes))
    notes += compare_splits(labels, given, classes)
    ids, reader = _join_readers(parts)
    groups, more = _join_groups(listed, given, labels)
    ignored: dict[str, int] = {}
    for data in listed:
        for ending, count in data.ignored.items():
            ignored[ending] = ignored.get(ending, 0) + count
    return Data(
        name=short_name(name),
        kind=listed[0].kind,
        samples=Samples(ids, labels, classes, groups),
        given=given,
        reader=reader,
        ignored=ignored,
        notes=(*notes, *more),
        stamp=make_stamp(*(data.stamp for data in listed)),
    )


def refuse_same_files(parts: Mapping[int, Data]) -> None:
    """DataError where ids of val or test were found as files of train, for want of their own."""
    train = parts.get(TRAIN)
    for part, data in parts.items():
        is_elsewhere = any("were found as" in note for note in data.notes)
        if part == TRAIN or train is None or not is_elsewhere:
            continue
        if not isinstance(data.reader, FileReader) or not isinstance(train.reader, FileReader):
            continue
        known = {train.reader.path(row) for row in range(len(train.samples))}
        own = [data.reader.path(row) for row in range(len(data.samples))]
        shared = [path for path in own if path in known]
        if 2 * len(shared) > len(own):
            raise DataError(
                f"{plural(len(shared), 'image')} of {len(own):,} of {SPLIT_NAMES[part]} are found "
                f"to be files of train, such as '{printable(shared[0], 80)}'",
                f"put the images of {SPLIT_NAMES[part]} beside its table, in a folder called "
                f"{SPLIT_NAMES[part]}, or write their paths into it",
            )


def _join_groups(
    listed: Sequence[Data], given: NDArray[np.int8], labels: NDArray[Any]
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Groups of all parts [N], and notes: by a column that all have, else each in its part."""
    shared = set.intersection(*({name for name, _ in data.grouped} for data in listed))
    columns = [
        (name, np.concatenate([dict(data.grouped)[name] for data in listed]))
        for name, _ in listed[0].grouped
        if name in shared
    ]
    groups, notes = read_groups(columns, given, labels)
    if groups is not None or all(data.samples.groups is None for data in listed):
        return groups, notes
    joined, start = [], 0
    for data in listed:
        own = data.samples.groups
        numbers = np.arange(len(data.samples)) if own is None else own
        joined.append(numbers + start)
        start += int(numbers.max()) + 1 if len(numbers) else 0
    return np.concatenate(joined), notes


def _join_readers(
    parts: Mapping[int, Data],
) -> tuple[NDArray[Any], ArrayReader | FileReader | PartsReader]:
    """Ids and one reader of the images of all parts."""
    readers = [data.reader for data in parts.values()]
    counts = [len(data.samples) for data in parts.values()]
    if all(type(reader) is FileReader for reader in readers):
        return _join_files([r for r in readers if isinstance(r, FileReader)], counts)
    arrays = [reader.array for reader in readers if isinstance(reader, ArrayReader)]
    members = [reader for reader in readers if isinstance(reader, MemberReader)]
    if len({(array.shape[1:], array.dtype) for array in arrays}) > 1:
        shapes = [f"{list(array.shape[1:])} {array.dtype}" for array in arrays]
        raise DataError(
            f"the splits hold images of different shapes: {name_some(shapes)}",
            "bring all splits to one shape",
        )
    reader: ArrayReader | PartsReader
    if len(arrays) == len(readers):
        reader = ArrayReader(np.concatenate(arrays))
    elif len(members) == len(readers):
        reader = PartsReader(members, counts)
    else:
        raise UsageError(
            f"splits of the kinds {name_some(data.kind for data in parts.values())} can't be "
            "joined",
            "give every split as a table, a folder of classes, or an archive of one",
        )
    texts = [
        f"{SPLIT_NAMES[part]}/{name if members else row}"
        for part, data in parts.items()
        for row, name in enumerate(data.samples.ids)
    ]
    return np.array(texts, dtype=np.dtypes.StringDType()), reader


def _join_files(files: Sequence[FileReader], counts: Sequence[int]) -> tuple[Any, FileReader]:
    """Ids and a reader of all files, by paths relative to the deepest folder above all."""
    roots = [os.path.abspath(reader.root) for reader in files]  # noqa: PTH100
    root = os.path.commonpath(roots)
    names = []
    for reader, place, count in zip(files, roots, counts, strict=True):
        below = "" if place == root else Path(os.path.relpath(place, root)).as_posix()
        for row in range(count):
            name = reader.name(row)
            names.append(os.path.join(below, name))  # noqa: PTH118
    texts = np.array([as_text(name) for name in names], dtype=np.dtypes.StringDType())
    exact = {row: name for row, name in enumerate(names) if as_text(name) != name}
    return make_distinct(texts)[0], FileReader(root, texts, exact)


def _join_labels(
    listed: Sequence[Data], class_names: Sequence[str]
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Labels over the classes of all parts; [N, K] where an image of one part may have several."""
    found = list(dict.fromkeys(name for data in listed for name in data.samples.class_names))
    classes, numbers = order_classes(found, class_names)
    place = dict(zip(found, numbers.tolist(), strict=True))
    is_multi = any(data.samples.is_multi_label for data in listed)
    joined = []
    for data in listed:
        labels, names = data.samples.labels, data.samples.class_names
        target = np.array([place[name] for name in names], dtype=np.int64)
        if not is_multi:
            joined.append(target[labels])
            continue
        rows = np.zeros((len(labels), len(classes)), dtype=np.float32)
        if data.samples.is_multi_label:
            rows[:, target] = labels
        else:
            rows[np.arange(len(labels)), target[labels]] = 1
        joined.append(rows)
    return np.concatenate(joined), classes
