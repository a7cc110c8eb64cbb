"""Class folders: the first folder level is the class, whatever lies below belongs to it.

Names are only read here; a million files cost some tens of megabytes. What was found in a large
folder is kept in an index (data/sources/index).
"""

import os
from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.samples import Samples
from torchloupe.data.sources.index import Index
from torchloupe.data.sources.labels import compare_splits, order_classes
from torchloupe.data.sources.source import (
    SPLIT_WORDS,
    Data,
    FileReader,
    count_ignored,
    make_stamp,
    name_some,
    short_name,
)
from torchloupe.data.sources.walk import Facts, Level, Walk, as_text
from torchloupe.data.split import SPLIT_NAMES, TRAIN
from torchloupe.errors import DataError, printable
from torchloupe.units import plural

_CHUNK = 65_536  # names held as Python strings before they become an array
_TABLES = (".csv", ".tsv", ".parquet", ".npz")


def open_folder(path: Path, class_names: Sequence[str] = ()) -> Data:
    """Images in class folders, or in class folders below train, val and test folders."""
    index = Index(path, class_names)
    kept = index.read()
    if kept is not None:
        return kept
    root = os.fspath(path)
    walk = Walk(root)
    listing = _Listing()
    notes: list[str] = []
    top = walk.look()
    splits = _split_folders(root, top)
    given = splits is not None and set(splits.values()) != {TRAIN}
    places = [("", TRAIN)] if splits is None else [(f"{name}/", splits[name]) for name in splits]
    beside = [] if splits is None else [name for name in top.folders if name not in splits]
    if beside:
        notes.append(f"beside {name_some(splits or ())}, folders are not used: {name_some(beside)}")
    for prefix, part in places:
        level = walk.look(prefix) if prefix else top
        if prefix and level.loose:
            notes.append(f"{plural(level.loose, 'image')} in {prefix} outside any class folder")
        empty = []
        for name in level.folders:
            before = len(listing)
            listing.start_class(name, part)
            for image, facts in walk.find_images(prefix + name):
                listing.add(image, facts)
            if len(listing) == before:
                empty.append(name)
        if empty and len(listing):
            many = "hold no images and are no classes" if len(empty) > 1 else "holds no images"
            notes.append(f"{name_some(prefix + name for name in empty)} {many}")
    if top.loose and len(listing):
        notes.append(f"{plural(top.loose, 'image')} outside any class folder, not used")
    if not len(listing):
        raise _no_images(path, top, walk.ignored)
    ids, codes, parts, files, exact = listing.table()
    used = np.flatnonzero(np.bincount(codes, minlength=len(listing.classes)))
    if len(used) == 1 and splits is None:
        _refuse_extra_level(path, listing.classes[used[0]], top)
    found = [as_text(listing.classes[code]) for code in used]
    names, numbers = order_classes(found, class_names)
    lookup = np.zeros(len(listing.classes), dtype=np.int64)
    lookup[used] = numbers
    labels = lookup[codes]
    if given:
        notes += compare_splits(labels, parts, names)
    data = Data(
        name=short_name(path.resolve().name),
        kind="folder",
        samples=Samples(ids, labels, names),
        given=parts if given else None,
        reader=FileReader(root, ids, exact),
        ignored=dict(walk.ignored.most_common()),
        notes=tuple(notes),
        stamp=make_stamp(ids, files),
    )
    index.keep(data, files, exact, walk)
    return data


class _Listing:
    """Image names with class, part, size and times, growing in compact chunks."""

    def __init__(self) -> None:
        self.classes: list[str] = []
        self._numbers: dict[str, int] = {}
        self._now = (0, TRAIN)
        self._names: list[str] = []
        self._chunks: list[NDArray[Any]] = []
        self._odd: dict[int, str] = {}
        self._codes = array("i")
        self._parts = array("b")
        self._facts = array("q")

    def __len__(self) -> int:
        return len(self._codes)

    def start_class(self, name: str, part: int) -> None:
        """The images added from now on are of this class and part."""
        if name not in self._numbers:
            self._numbers[name] = len(self.classes)
            self.classes.append(name)
        self._now = (self._numbers[name], part)

    def add(self, name: str, facts: Facts) -> None:
        """Take in one image, given with its size and its two times of change."""
        self._names.append(name)
        self._codes.append(self._now[0])
        self._parts.append(self._now[1])
        self._facts.extend(facts)
        if len(self._names) == _CHUNK:
            self._flush()

    def _flush(self) -> None:
        done = len(self) - len(self._names)
        try:
            chunk = np.array(self._names, dtype=np.dtypes.StringDType())
        except UnicodeEncodeError:
            texts = [as_text(name) for name in self._names]
            pairs = enumerate(zip(self._names, texts, strict=True))
            self._odd |= {done + k: name for k, (name, text) in pairs if name != text}
            chunk = np.array(texts, dtype=np.dtypes.StringDType())
        self._chunks.append(chunk)
        self._names.clear()

    def table(
        self,
    ) -> tuple[Any, NDArray[np.int32], NDArray[np.int8], NDArray[np.int64], dict[int, str]]:
        """Ids, class codes, parts and facts of the files, sorted by id; odd names by row."""
        self._flush()
        ids = np.concatenate(self._chunks)
        self._chunks.clear()
        order = np.argsort(ids, kind="stable")
        ids = ids[order]
        codes = np.frombuffer(self._codes, dtype=np.intc)[order].astype(np.int32, copy=False)
        parts = np.frombuffer(self._parts, dtype=np.int8)[order]
        facts = np.frombuffer(self._facts, dtype=np.int64).reshape(-1, 3)[order]
        exact: dict[int, str] = {}
        if self._odd:
            place = np.argsort(order)
            exact = {int(place[index]): name for index, name in self._odd.items()}
        return ids, codes, parts, facts, exact


def _split_folders(root: str, top: Level) -> dict[str, int] | None:
    """Which of the top folders are train, val and test; None where they are classes.

    A class may well be called `train`: without a val or test beside it, other folders make
    it one class among them.
    """
    parts = {name: SPLIT_WORDS[name.lower()] for name in top.folders if name.lower() in SPLIT_WORDS}
    others = [name for name in top.folders if name not in parts]
    values = sorted(parts.values())
    if TRAIN not in values:
        if parts and not others:
            raise DataError(
                f"{printable(root)} has {name_some(parts)} and no train folder",
                "name the folder of training images 'train'",
            )
        return None
    if others and values == [TRAIN]:
        return None
    for part in set(values):
        if values.count(part) > 1:
            same = [name for name in parts if parts[name] == part]
            raise DataError(
                f"{printable(root)} has several folders for {SPLIT_NAMES[part]}: {name_some(same)}",
                "keep one of them",
            )
    return parts


def _refuse_extra_level(path: Path, only: str, top: Level) -> None:
    """DataError where the one class found is a folder of class folders, or of listed images."""
    message = f"{printable(path)} has only one class folder, {name_some([only])}"
    inner = Walk(os.fspath(path)).look(only).folders
    if len(inner) > 1:
        raise DataError(
            message,
            f"classes are the first folder level: try {printable(path / only)}, which holds "
            f"{name_some(inner, 3)}",
        )
    if tables := _tables(path, top):
        raise DataError(message, f"did you mean {name_some(tables)}?")


def _tables(path: Path, top: Level) -> list[str]:
    """Files in the folder that may be the data themselves."""
    return sorted(str(path / name) for name in top.files if name.lower().endswith(_TABLES))


def _no_images(path: Path, top: Level, ignored: Counter[str]) -> DataError:
    shown = printable(path)
    tables = _tables(path, top)
    hint = "give a folder that holds one folder of images a class"
    if tables:
        hint = f"did you mean {name_some(tables)}?"
    elif top.loose:
        hint = "put the images of each class in a folder of its own, or list them in a .csv"
    if top.loose:
        return DataError(f"{shown} holds {plural(top.loose, 'image')} but no class folders", hint)
    if not top.folders and not top.files:
        return DataError(f"{shown} is empty", hint)
    passed = f" (passed over: {count_ignored(ignored)})" if ignored else ""
    return DataError(f"{shown} holds no images{passed}", hint)
