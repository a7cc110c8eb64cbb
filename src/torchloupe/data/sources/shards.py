"""Tar shards in the WebDataset layout: NAME.jpg and NAME.cls (or .json) side by side in a `.tar`.

Nothing is unpacked. Headers are read once; an image is then read from its place in the archive.
A member's name is only ever a name. How members make samples is for shard_members.
"""

import os
import re
from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.samples import Samples
from torchloupe.data.sources.class_tars import refuse_class_tars
from torchloupe.data.sources.missing_files import note_missing
from torchloupe.data.sources.missing_labels import note_missing_labels
from torchloupe.data.sources.shard_labels import holds_several, require_one_place, spread_labels
from torchloupe.data.sources.shard_members import USUAL, Columns, Sample, read_samples
from torchloupe.data.sources.shard_reader import ShardReader
from torchloupe.data.sources.side_columns import Beside, read_beside, read_beside_split
from torchloupe.data.sources.source import (
    SPLIT_WORDS,
    Data,
    make_stamp,
    name_some,
    short_name,
    stamp_file,
)
from torchloupe.data.sources.split_names import read_split
from torchloupe.data.split import TRAIN
from torchloupe.errors import DataError, printable
from torchloupe.units import plural

_OTHER_ENDINGS = (".json", ".npy", ".npz", ".pyd", ".pkl", ".pickle", ".pt", ".pth")  # no text


def open_shards(
    paths: Sequence[Path],
    *,
    name: str,
    class_names: Sequence[str] = (),
    columns: Columns = USUAL,
) -> Data:
    """Data from tar files; shards called train-*, val-*, test-* (or in such folders) are splits."""
    paths = sorted(paths)
    splits = splits_of(paths)
    index = ShardListing(columns=columns)
    for number, (path, shown) in enumerate(zip(paths, name_shards(paths), strict=True)):
        index.read_shard(number, path, splits[number], shown)
    if not len(index):
        refuse_class_tars(paths, index.ignored)
        raise no_pairs(printable(name), len(paths), index.ignored)
    require_one_place(index.places_of_labels, printable(name))
    ids, codes, places, parts = index.table()
    beside = _read_beside(index, codes, parts, class_names)
    notes = note_missing(paths) if len(paths) > 1 else ()
    if beside.names is None:
        labels, names = spread_labels(list(index.labels), codes, class_names)
        if not class_names:
            notes += note_missing_labels(list(index.labels), np.bincount(codes), "labels")
    else:
        found, inverse = np.unique(beside.names, return_inverse=True)
        labels, names = spread_labels(found.tolist(), inverse.reshape(-1).astype(np.int32))
    if index.unpaired:
        what = "members of the shards lack their partner (image or label), for example"
        notes += (f"{index.unpaired:,} {what} {index.example}",)
    files = [os.fspath(path) for path in paths]
    data = Data(
        name=short_name(name),
        kind="shards",
        samples=Samples(ids, labels, names),
        given=None,
        reader=ShardReader(files, places),
        ignored=dict(index.ignored.most_common()),
        notes=notes,
        stamp=make_stamp(ids, places, *(stamp_file(file) for file in files)),
    )
    return beside.complete(data)


def _read_beside(
    index: "ShardListing",
    codes: NDArray[np.int32],
    parts: NDArray[np.int8],
    class_names: Sequence[str],
) -> Beside:
    """What entries of `.json` members say of the split, group and class of each sample.

    The split `parts` [N] that the shards' names say comes first.
    """
    columns, shown = index.beside, "the .json members"
    if not holds_several(index.labels):
        columns[""] = np.array(list(index.labels), dtype=np.dtypes.StringDType())[codes]
    if (parts != TRAIN).any():
        return read_beside_split(columns, "", shown, parts, "the names of the shards")
    return read_beside(columns, "", shown, what="entry", class_names=class_names)


def no_pairs(shown: str, shards: int, ignored: Counter[str]) -> DataError:
    """The error for shards in which no image has a label."""
    beside = ", ".join(f"{ending} ({count:,})" for ending, count in ignored.most_common(4))
    passed = f" (passed over: {beside})" if beside else ""
    hint = (
        "the layout is NAME.jpg beside NAME.cls, which holds a class name or number, or a "
        'NAME.json with {"label": ...}'
    )
    if ".txt" in ignored:
        hint = "if NAME.txt holds the class and no caption, say so: data.label_column=txt"
    elif others := [ending for ending in ignored if _may_be_label(ending)]:
        hint = f"if NAME{others[0]} holds the class, say so: data.label_column={others[0][1:]}"
    elif ".json" in ignored:
        hint = "say which entry of NAME.json holds the class: data.label_column=json.NAME"
    return DataError(
        f"{shown}: {plural(shards, 'shard')} without one pair of image and label{passed}", hint
    )


def _may_be_label(ending: str) -> bool:
    """Whether members with this ending may hold nothing but a label, as text."""
    is_other = ending in IMAGE_SUFFIXES or ending in _OTHER_ENDINGS
    return not is_other and ending.count(".") == 1


def name_shards(paths: Sequence[PurePath]) -> list[str]:
    """A name for each shard, with which the ids of its images begin: its own, or its path where
    two have the same (`train/000.tar`, `val/000.tar`).
    """
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    common = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(common).as_posix() for path in paths]


def find_shards(folder: Path) -> list[Path]:
    """The `.tar` files of a folder, or of its train, val and test folders."""
    places = [
        folder,
        *(p for p in folder.iterdir() if p.name.lower() in SPLIT_WORDS and p.is_dir()),
    ]
    return sorted(p for place in places for p in place.glob("*.tar") if p.is_file())


class ShardListing:
    """Images of all shards: where each lies and its label, gathered in one pass."""

    def __init__(self, needs_labels: bool = True, columns: Columns = USUAL) -> None:
        self.needs_labels = needs_labels  # else all images are taken, with a label or not
        self.columns = columns
        self.labels: dict[str, int] = {}
        self.places_of_labels: Counter[str] = Counter()  # endings, to how many samples
        self.ignored: Counter[str] = Counter()
        self.unpaired = 0
        self.example = ""
        self._ids: list[str] = []
        self._chunks: list[NDArray[Any]] = []
        self._cells: dict[str, list[str]] = {}
        self._codes = array("i")
        self._parts = array("b")
        self._places = array("q")

    def __len__(self) -> int:
        return len(self._codes)

    def read_shard(self, number: int, path: Path, part: int, name: str) -> None:
        """Take in one tar file called `name`."""
        for sample in read_samples(path, self.columns, self.ignored, self.needs_labels):
            if self.needs_labels:
                self._add_labelled(number, name, part, sample)
            else:
                self._add(number, name, part, "", sample)

    def _add_labelled(self, number: int, shard: str, part: int, sample: Sample) -> None:
        found = sample.label
        if found is None or not sample.images:
            self.unpaired += len(sample.images) + (found is not None)
            self.example = self.example or printable(f"{shard}/{sample.key}", 120)
            return
        if len(sample.images) > 1:
            endings = list(sample.images)
            raise DataError(
                f"{printable(f'{shard}/{sample.key}', 120)} has several images: "
                f"{name_some([f'.{ending}' for ending in endings])}",
                f"say which is to be classified: data.image_column={endings[0]}",
            )
        self.places_of_labels[found[0]] += 1
        self._add(number, shard, part, found[1], sample)
        for name, cell in sample.columns.items():
            cells = self._cells.setdefault(name, [])
            cells.extend([""] * (len(self) - 1 - len(cells)))
            cells.append(cell)

    def _add(self, number: int, shard: str, part: int, label: str, sample: Sample) -> None:
        for member in sample.images.values():
            self._ids.append(f"{shard}/{member.name}".encode("utf-8", "replace").decode())
            self._codes.append(self.labels.setdefault(label, len(self.labels)))
            self._parts.append(part)
            self._places.extend((number, member.offset_data, member.size))
        if len(self._ids) >= 65_536:
            self._flush()

    @property
    def beside(self) -> dict[str, NDArray[Any]]:
        """What `.json` members say of splits, groups and names: texts [N] by names of entries."""
        rows, kind = len(self), np.dtypes.StringDType()
        whole = {name: cells + [""] * (rows - len(cells)) for name, cells in self._cells.items()}
        return {name: np.array(cells, dtype=kind) for name, cells in whole.items()}

    def _flush(self) -> None:
        self._chunks.append(np.array(self._ids, dtype=np.dtypes.StringDType()))
        self._ids.clear()

    def table(self) -> tuple[Any, NDArray[np.int32], NDArray[np.int64], NDArray[np.int8]]:
        """Ids, label codes, places [N, 3] and parts, in the order of the shards."""
        self._flush()
        return (
            np.concatenate(self._chunks),
            np.frombuffer(self._codes, dtype=np.intc).astype(np.int32, copy=False),
            np.frombuffer(self._places, dtype=np.int64).reshape(-1, 3),
            np.frombuffer(self._parts, dtype=np.int8),
        )


def splits_of(paths: Sequence[PurePath]) -> list[int]:
    """The part of each shard: by its name, or else by its folder.

    A name that begins with a split names it; one that has it further on, as
    `imagenet-val-0001.tar`, does so where the others name other splits.
    """
    found = [_named_split(path) for path in paths]
    if not any(is_first for _, is_first in found) and len({part for part, _ in found}) == 1:
        return [TRAIN] * len(found)
    named = [path.name for path, (part, _) in zip(paths, found, strict=True) if part is not None]
    others = [path.name for path, (part, _) in zip(paths, found, strict=True) if part is None]
    if named and others and {part for part, _ in found if part is not None} != {TRAIN}:
        raise DataError(
            f"some shards name a split ({name_some(named, 2)}) and some don't "
            f"({name_some(others, 2)})",
            "start the name of each with train-, val- or test-",
        )
    return [TRAIN if part is None else part for part, _ in found]


def _named_split(path: PurePath) -> tuple[int | None, bool]:
    """The split that a shard's name or folder names, and whether it is certain to mean one."""
    words = re.split(r"[-_. ]+", path.name.lower())
    if words[0] in SPLIT_WORDS:
        return SPLIT_WORDS[words[0]], True
    parts = {part for word in words[1:-1] if (part := read_split(word)) is not None}
    if len(parts) == 1:
        return parts.pop(), False
    part = SPLIT_WORDS.get(path.parent.name.lower())
    return part, part is not None
