"""The index of a set of shards: what is in each, where, and what it must hash to.

It is one file beside the shards, and holds its own SHA-256. With it no shard has to be read to
know the samples: names and their keys, labels, offsets and sizes, a 64-bit key of each image's
bytes, and the size and SHA-256 of each shard.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.errors import DataError, printable
from torchloupe.system.cache import Kept, read_kept, write_kept
from torchloupe.system.counter_rng import Keys, make_keys

FORMAT = 1
NAMES_AT_ONCE, WIDEST = 65_536, 1024  # names that are cut apart together, and bytes of each
COMPARED = 16  # names whose keys are made again to see whether those of the index fit


@dataclass(frozen=True)
class Shard:
    """One tar file of a set."""

    name: str
    bytes: int
    sha256: str  # empty where nobody computed it
    part: int  # the split that all of it is for: 0 train, 1 val, 2 test


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """N samples in some shards, in the order in which they lie there.

    `places` [N, 3] are the number of the shard, offset and size in bytes. `labels` are [N] int64,
    or [N, K] float32 of 0 and 1. `content` [N] are 64-bit keys of the encoded images, `keys` [N]
    those of the ids, which an index of before has not.
    """

    shards: tuple[Shard, ...]
    class_names: tuple[str, ...]
    ids: NDArray[Any]  # [N] StringDType
    labels: NDArray[Any]
    places: NDArray[np.int64]
    content: Keys
    is_checked: bool = False  # every image was decoded when the shards were written
    keys: Keys | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def total_bytes(self) -> int:
        """Of all shards."""
        return sum(shard.bytes for shard in self.shards)

    def to_kept(self) -> Kept:
        """The index as facts and arrays."""
        lengths, text = join_names(self.ids)
        facts = {
            "format": FORMAT,
            "class_names": list(self.class_names),
            "is_checked": self.is_checked,
            "shards": [[s.name, s.bytes, s.sha256, s.part] for s in self.shards],
        }
        arrays: dict[str, NDArray[Any]] = {
            "ids": text,
            "id_bytes": lengths,
            "labels": self.labels,
            "places": self.places,
            "content": self.content,
            "keys": make_keys(self.ids) if self.keys is None else self.keys,
        }
        return Kept(facts, arrays)

    @staticmethod
    def from_kept(kept: Kept) -> "ShardIndex":
        """The index that `to_kept` gave; ValueError or KeyError for anything else."""
        facts, arrays = kept.facts, kept.arrays
        if not facts:
            raise ValueError("it is damaged, or no index")
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']} is not known here")
        index = ShardIndex(
            tuple(Shard(str(n), int(b), str(h), int(p)) for n, b, h, p in facts["shards"]),
            tuple(map(str, facts["class_names"])),
            split_names(arrays["id_bytes"], arrays["ids"]),
            arrays["labels"],
            arrays["places"].astype(np.int64),
            arrays["content"].astype(np.uint64),
            bool(facts["is_checked"]),
            arrays["keys"].astype(np.uint64) if "keys" in arrays else None,
        )
        index.require_consistent()
        return index

    def require_consistent(self) -> None:
        """ValueError if an image lies outside its shard, or a label is no class."""
        count = len(self.ids)
        lengths = {len(self.labels), len(self.places), len(self.content)}
        if self.keys is not None:
            lengths.add(len(self.keys))
            if not np.array_equal(self.keys[:COMPARED], make_keys(self.ids[:COMPARED])):
                raise ValueError("its keys are not those of its names")
        if lengths != {count} or self.places.shape != (count, 3):
            raise ValueError("its arrays differ in length")
        if not count:
            return
        shard, offset, size = self.places.T
        ends = np.array([s.bytes for s in self.shards], dtype=np.int64)
        if shard.min() < 0 or shard.max() >= len(ends) or offset.min() < 0 or size.min() < 0:
            raise ValueError("it names a place that can't be")
        if (offset + size > ends[shard]).any():
            raise ValueError("an image lies beyond the end of its shard")
        if self.labels.ndim == 1 and not 0 <= self.labels.min() <= self.labels.max() < len(
            self.class_names
        ):
            raise ValueError("a label is no class")

    def take_shards(self, names: Sequence[str]) -> "ShardIndex":
        """The part of it that is in the shards called `names`, in their order."""
        number = {shard.name: k for k, shard in enumerate(self.shards)}
        wanted = [number[name] for name in names]
        if wanted == list(range(len(self.shards))):
            return self
        new = np.full(len(self.shards), -1, dtype=np.int64)
        new[wanted] = np.arange(len(wanted))
        moved = new[self.places[:, 0]]
        rows = np.flatnonzero(moved >= 0)
        rows = rows[np.lexsort((self.places[rows, 1], moved[rows]))]
        places = self.places[rows]
        places[:, 0] = moved[rows]
        return ShardIndex(
            tuple(self.shards[k] for k in wanted),
            self.class_names,
            self.ids[rows],
            self.labels[rows],
            places,
            self.content[rows],
            self.is_checked,
            None if self.keys is None else self.keys[rows],
        )


def write_index(path: Path, index: ShardIndex) -> None:
    """Write it to `path`, whole or not at all."""
    write_kept(path, index.to_kept())


def read_index(path: Path, shown: str = "") -> ShardIndex:
    """The index in the file `path`; DataError if it is damaged."""
    kept = read_kept(path)
    try:
        return ShardIndex.from_kept(Kept({}) if kept is None else kept)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"the index {printable(shown or path)} can't be used: {printable(error)}",
            "fetch it again, or remove it: shards are read without one too",
        ) from None


def join_names(ids: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """The length of each id in bytes, and all of them one after the other."""
    encoded = [str(name).encode("utf-8", "surrogateescape") for name in ids]
    lengths = np.fromiter(map(len, encoded), dtype=np.int32, count=len(encoded))
    return lengths, np.frombuffer(b"".join(encoded), dtype=np.uint8)


def split_names(lengths: NDArray[Any], text: NDArray[Any]) -> NDArray[Any]:
    """The names [N] that `join_names` put together; ValueError if that can't be."""
    ends = np.cumsum(lengths.astype(np.int64))
    if len(ends) and (lengths.min() < 0 or ends[-1] != len(text)):
        raise ValueError("its names are cut")
    starts, plain = ends - lengths, text.astype(np.uint8, copy=False)
    names = np.empty(len(ends), dtype=np.dtypes.StringDType())
    for first in range(0, len(ends), NAMES_AT_ONCE):
        some = slice(first, first + NAMES_AT_ONCE)
        begin, end = int(starts[some][0]), int(ends[some][-1])
        names[some] = _cut(lengths[some], plain[begin:end])
    return names


def _cut(lengths: NDArray[Any], text: NDArray[np.uint8]) -> NDArray[Any]:
    """Names that lie one after the other in `text`; of plain ASCII all are cut at once."""
    width = max(1, int(lengths.max()))
    if width <= WIDEST and not len(text[(text == 0) | (text > 127)]):
        table = np.zeros((len(lengths), width), dtype=np.uint8)
        table[np.arange(width) < lengths[:, None]] = text
        return table.view(f"S{width}").ravel().astype(np.dtypes.StringDType())
    whole, ends = text.tobytes(), np.cumsum(lengths.astype(np.int64))
    found = [
        whole[end - length : end].decode("utf-8", "replace")
        for length, end in zip(lengths.tolist(), ends.tolist(), strict=True)
    ]
    return np.array(found, dtype=np.dtypes.StringDType())
