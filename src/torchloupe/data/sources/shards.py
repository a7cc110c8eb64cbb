"""Tar shards in the WebDataset layout: NAME.jpg and NAME.cls (or .json) side by side in a `.tar`.

Nothing is unpacked. Headers are read once; an image is then read from its place in the archive.
A member's name is only ever a name.
"""

import os
import tarfile
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.samples import Samples
from torchloupe.data.sources.labels import compare_splits
from torchloupe.data.sources.shard_labels import (
    LARGEST_JSON_BYTES,
    LARGEST_LABEL_BYTES,
    read_json_label,
    spread_labels,
)
from torchloupe.data.sources.shard_reader import ShardReader
from torchloupe.data.sources.source import (
    SPLIT_WORDS,
    Data,
    make_stamp,
    name_some,
    short_name,
    stamp_file,
)
from torchloupe.data.split import TRAIN
from torchloupe.errors import DataError, printable
from torchloupe.units import plural


def open_shards(paths: Sequence[Path], *, name: str, class_names: Sequence[str] = ()) -> Data:
    """Data from tar files; shards called train-*, val-*, test-* (or in such folders) are splits."""
    paths = sorted(paths)
    splits = splits_of(paths)
    index = ShardListing()
    for number, path in enumerate(paths):
        index.read_shard(number, path, splits[number], path.name)
    if not len(index):
        raise DataError(
            f"{printable(name)}: {plural(len(paths), 'shard')} without one pair of image and label",
            "the layout is NAME.jpg beside NAME.cls, which holds a class name or number, or a "
            'NAME.json with {"label": ...}',
        )
    ids, codes, places, parts = index.table()
    labels, names = spread_labels(list(index.labels), codes, class_names)
    is_given = bool((parts != TRAIN).any())
    notes = compare_splits(labels, parts, names) if is_given else ()
    if index.unpaired:
        what = "members of the shards lack their partner (image or label), for example"
        notes += (f"{index.unpaired:,} {what} {index.example}",)
    files = [os.fspath(path) for path in paths]
    return Data(
        name=short_name(name),
        kind="shards",
        samples=Samples(ids, labels, names),
        given=parts if is_given else None,
        reader=ShardReader(files, places),
        ignored=dict(index.ignored.most_common()),
        notes=notes,
        stamp=make_stamp(ids, places, *(stamp_file(file) for file in files)),
    )


def find_shards(folder: Path) -> list[Path]:
    """The `.tar` files of a folder, or of its train, val and test folders."""
    places = [
        folder,
        *(p for p in folder.iterdir() if p.name.lower() in SPLIT_WORDS and p.is_dir()),
    ]
    return sorted(p for place in places for p in place.glob("*.tar") if p.is_file())


class ShardListing:
    """Images of all shards: where each lies and its label, gathered in one pass."""

    def __init__(self, needs_labels: bool = True) -> None:
        self.needs_labels = needs_labels  # else images without one are taken too
        self.labels: dict[str, int] = {}
        self.ignored: Counter[str] = Counter()
        self.unpaired = 0
        self.example = ""
        self._ids: list[str] = []
        self._chunks: list[NDArray[Any]] = []
        self._codes = array("i")
        self._parts = array("b")
        self._places = array("q")

    def __len__(self) -> int:
        return len(self._codes)

    def read_shard(self, number: int, path: Path, part: int, name: str) -> None:
        """Take in one tar file called `name`; images and labels of one key follow each other."""
        key, label = "", None
        images: list[tarfile.TarInfo] = []
        for member, text in _members(path):
            folder, _, file = member.name.rpartition("/")
            stem, _, ending = file.partition(".")
            if f"{folder}/{stem}" != key:
                self._add(number, name, part, key, label, images)
                key, label, images = f"{folder}/{stem}", None, []
            ending = f".{ending.lower()}"
            if ending == ".cls":
                label = text
            elif ending == ".json" and (found := read_json_label(text)) is not None:
                label = found if label is None else label
            elif ending in IMAGE_SUFFIXES:
                images.append(member)
            else:
                self.ignored[ending[:20]] += 1
        self._add(number, name, part, key, label, images)

    def _add(
        self,
        number: int,
        shard: str,
        part: int,
        key: str,
        label: str | None,
        images: list[tarfile.TarInfo],
    ) -> None:
        if label is None and images and not self.needs_labels:
            label = ""
        if label is None or not images:
            count = len(images) + (label is not None)
            self.unpaired += count
            if count and not self.example:
                self.example = printable(f"{shard}/{key.lstrip('/')}", 120)
            return
        for member in images:
            self._ids.append(f"{shard}/{member.name}".encode("utf-8", "replace").decode())
            self._codes.append(self.labels.setdefault(label, len(self.labels)))
            self._parts.append(part)
            self._places.extend((number, member.offset_data, member.size))
        if len(self._ids) >= 65_536:
            self._flush()

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


def _members(path: Path) -> Iterator[tuple[tarfile.TarInfo, str]]:
    """The plain files in a tar, with the text of those that are labels."""
    shown = printable(path)
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # or a million of them stay in memory
                if not member.isreg() or member.issparse() or _is_hidden(member.name):
                    continue
                text = ""
                ending = member.name.lower().rpartition(".")[2]
                if ending == "json" and member.size <= LARGEST_JSON_BYTES:
                    file.seek(member.offset_data)
                    text = file.read(member.size).decode("utf-8", "backslashreplace")
                if ending == "cls":
                    if member.size > LARGEST_LABEL_BYTES:
                        raise DataError(
                            f"{shown}: {printable(member.name)} is not a label: "
                            f"{member.size:,} bytes",
                            "a .cls file holds one class name or number",
                        )
                    file.seek(member.offset_data)
                    text = file.read(member.size).decode("utf-8", "backslashreplace").strip()
                yield member, text
            # tarfile takes a damaged header for the end; a real end is a block of zeros.
            file.seek(archive.offset)
            if file.read(512) != bytes(512):
                raise _unreadable(shown, f"damaged or cut at byte {archive.offset:,}")
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise _unreadable(shown, str(error)) from None
    except OSError as error:
        raise _unreadable(shown, error.strerror or str(error)) from None


def _unreadable(shown: str, reason: str) -> DataError:
    return DataError(
        f"{shown} can't be read as a tar file: {printable(reason)}",
        "fetch it again; a compressed one has to be decompressed first",
    )


def _is_hidden(name: str) -> bool:
    return name.rpartition("/")[2].startswith(".")


def splits_of(paths: Sequence[PurePath]) -> list[int]:
    """The part of each shard: by its name, or else by its folder."""
    words = []
    for path in paths:
        start = path.name.lower().replace("_", "-").replace(".", "-").partition("-")[0]
        word = next((w for w in (start, path.parent.name.lower()) if w in SPLIT_WORDS), "")
        words.append(word)
    named = [path.name for path, word in zip(paths, words, strict=True) if word]
    others = [path.name for path, word in zip(paths, words, strict=True) if not word]
    if named and others and {SPLIT_WORDS[word] for word in words if word} != {TRAIN}:
        raise DataError(
            f"some shards name a split ({name_some(named, 2)}) and some don't "
            f"({name_some(others, 2)})",
            "start the name of each with train-, val- or test-",
        )
    return [SPLIT_WORDS.get(word, TRAIN) for word in words]
