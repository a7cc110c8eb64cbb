"""Class folders: the first folder level is the class, whatever lies below belongs to it.

Names are only read here; a million files cost some tens of megabytes.
"""

import os
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.formats import IMAGE_SUFFIXES
from torchloupe.data.samples import Samples
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
from torchloupe.data.split import SPLIT_NAMES, TRAIN
from torchloupe.errors import DataError, printable
from torchloupe.units import plural

_CHUNK = 65_536  # names held as Python strings before they become an array
_TABLES = (".csv", ".tsv", ".parquet", ".npz")


def open_folder(path: Path, class_names: Sequence[str] = ()) -> Data:
    """Images in class folders, or in class folders below train, val and test folders."""
    root = os.fspath(path)
    listing = _Listing()
    notes: list[str] = []
    top = _look(root, listing.ignored)
    splits = _split_folders(root, top)
    given = splits is not None and set(splits.values()) != {TRAIN}
    places = [("", TRAIN)] if splits is None else [(f"{name}/", splits[name]) for name in splits]
    beside = [] if splits is None else [name for name in top.folders if name not in splits]
    if beside:
        notes.append(f"beside {name_some(splits or ())}, folders are not used: {name_some(beside)}")
    for prefix, part in places:
        level = top if not prefix else _look(os.path.join(root, prefix), listing.ignored)  # noqa: PTH118
        if prefix and level.loose:
            notes.append(f"{plural(level.loose, 'image')} in {prefix} outside any class folder")
        empty = []
        for name in level.folders:
            before = len(listing)
            listing.start_class(name, part)
            for image, facts in _find_images(root, prefix + name, listing.ignored):
                listing.add(image, facts)
            if len(listing) == before:
                empty.append(name)
        if empty and len(listing):
            many = "hold no images and are no classes" if len(empty) > 1 else "holds no images"
            notes.append(f"{name_some(prefix + name for name in empty)} {many}")
    if top.loose and len(listing):
        notes.append(f"{plural(top.loose, 'image')} outside any class folder, not used")
    if not len(listing):
        raise _no_images(path, top, listing.ignored)
    ids, codes, parts, exact, stamp = listing.table()
    used = np.flatnonzero(np.bincount(codes, minlength=len(listing.classes)))
    if len(used) == 1 and splits is None:
        _refuse_extra_level(path, listing.classes[used[0]], top)
    found = [_as_text(listing.classes[code]) for code in used]
    names, numbers = order_classes(found, class_names)
    lookup = np.zeros(len(listing.classes), dtype=np.int64)
    lookup[used] = numbers
    labels = lookup[codes]
    if given:
        notes += compare_splits(labels, parts, names)
    return Data(
        name=short_name(path.resolve().name),
        kind="folder",
        samples=Samples(ids, labels, names),
        given=parts if given else None,
        reader=FileReader(root, ids, exact),
        ignored=dict(listing.ignored.most_common()),
        notes=tuple(notes),
        stamp=stamp,
    )


@dataclass
class _Level:
    """What one folder holds directly."""

    folders: list[str] = field(default_factory=list)
    loose: int = 0  # images
    files: list[str] = field(default_factory=list)  # the others, a few of them


class _Listing:
    """Image names with class, part, size and times, growing in compact chunks."""

    def __init__(self) -> None:
        self.classes: list[str] = []
        self.ignored: Counter[str] = Counter()
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

    def add(self, name: str, facts: tuple[int, int, int]) -> None:
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
            texts = [_as_text(name) for name in self._names]
            pairs = enumerate(zip(self._names, texts, strict=True))
            self._odd |= {done + k: name for k, (name, text) in pairs if name != text}
            chunk = np.array(texts, dtype=np.dtypes.StringDType())
        self._chunks.append(chunk)
        self._names.clear()

    def table(self) -> tuple[Any, NDArray[np.int32], NDArray[np.int8], dict[int, str], str]:
        """Ids, class codes, parts, odd names by row, and a stamp; sorted by id."""
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
        return ids, codes, parts, exact, make_stamp(ids, facts)


def _as_text(name: str) -> str:
    """A file name as Unicode; bytes that are not UTF-8 are written %FF."""
    return (
        "".join(f"%{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else c for c in name)
        .encode("utf-8", "replace")
        .decode()
    )


def _scan(folder: str) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder that are not hidden."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    yield entry
    except OSError as error:
        raise DataError(
            f"folder {printable(folder)} can't be read: {error.strerror or error}",
            "make it readable, or take it out of the data",
        ) from None


def _look(folder: str, ignored: Counter[str]) -> _Level:
    """What lies directly in a folder; files that are no images are counted in `ignored`."""
    level = _Level()
    for entry in _scan(folder):
        if _is_folder(entry):
            if not (entry.is_symlink() and _closes_a_loop(entry.path, (folder,))):
                level.folders.append(entry.name)
        elif _is_image(entry, ignored):
            level.loose += 1
        else:
            level.files.append(entry.name)
    level.folders.sort()
    return level


def _find_images(
    root: str, prefix: str, ignored: Counter[str]
) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Every image below root/prefix: its path relative to root, its size and times of change.

    Symbolic links are followed, except one that leads back to a folder it lies in.
    """
    pending: list[tuple[str, tuple[str, ...]]] = [(prefix, (root,))]
    while pending:
        below, trail = pending.pop()
        folder = os.path.join(root, below)  # noqa: PTH118
        for entry in _scan(folder):
            if _is_folder(entry):
                if not entry.is_symlink():
                    pending.append((f"{below}/{entry.name}", trail))
                elif not _closes_a_loop(entry.path, (folder, *trail)):
                    pending.append((f"{below}/{entry.name}", (folder, *trail)))
            elif _is_image(entry, ignored):
                yield f"{below}/{entry.name}", _facts_of(entry)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_image(entry: os.DirEntry[str], ignored: Counter[str]) -> bool:
    """Whether a file is one to read, by its ending; a broken link is (reading it tells why not)."""
    ending = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
    if not entry.is_symlink() and not entry.is_file():
        ending = "special files"
    if ending in IMAGE_SUFFIXES:
        return True
    ignored[_as_text(ending)[:20] or "without ending"] += 1
    return False


def _facts_of(entry: os.DirEntry[str]) -> tuple[int, int, int]:
    try:
        facts = entry.stat()
    except OSError:  # a broken link, or gone meanwhile: reading it will say so
        return (0, 0, 0)
    return (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def _closes_a_loop(link: str, trail: tuple[str, ...]) -> bool:
    """Whether the link leads to a folder that one of `trail` is or lies in."""
    target = os.path.realpath(link)
    return any(Path(os.path.realpath(place)).is_relative_to(target) for place in trail)


def _split_folders(root: str, top: _Level) -> dict[str, int] | None:
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


def _refuse_extra_level(path: Path, only: str, top: _Level) -> None:
    """DataError where the one class found is a folder of class folders, or of listed images."""
    message = f"{printable(path)} has only one class folder, {name_some([only])}"
    inner = _look(os.path.join(path, only), Counter()).folders  # noqa: PTH118
    if len(inner) > 1:
        raise DataError(
            message,
            f"classes are the first folder level: try {printable(path / only)}, which holds "
            f"{name_some(inner, 3)}",
        )
    if tables := _tables(path, top):
        raise DataError(message, f"did you mean {name_some(tables)}?")


def _tables(path: Path, top: _Level) -> list[str]:
    """Files in the folder that may be the data themselves."""
    return sorted(str(path / name) for name in top.files if name.lower().endswith(_TABLES))


def _no_images(path: Path, top: _Level, ignored: Counter[str]) -> DataError:
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
