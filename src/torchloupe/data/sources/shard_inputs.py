"""Shards as inputs of a prediction: one after the other, labelled or not, each opened when its turn
comes. Memory holds the names of one shard, whatever the number of shards.
"""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.samples import Samples
from torchloupe.data.shards.addresses import (
    INDEX_NAME,
    expand,
    is_url,
    name_of,
    refuse_twins,
)
from torchloupe.data.shards.index import Shard, ShardIndex, read_index
from torchloupe.data.shards.network import open_network
from torchloupe.data.shards.store import ShardStore
from torchloupe.data.sources.far_shards import FarFolders, cache_folder, cache_limit
from torchloupe.data.sources.shard_reader import ShardReader
from torchloupe.data.sources.shard_sets import require_size
from torchloupe.data.sources.shards import ShardListing, find_shards
from torchloupe.data.sources.source import Data, stamp_file
from torchloupe.data.split import TRAIN
from torchloupe.errors import DataError, UsageError, printable


@dataclass(frozen=True, eq=False)
class ShardInputs:
    """Some shards, near or far, by their addresses; `stamps` say what each holds."""

    addresses: tuple[str, ...]
    stamps: tuple[str, ...]
    index: ShardIndex | None = field(default=None, repr=False)  # of the set, if there is one
    store: ShardStore | None = field(default=None, repr=False)  # for far ones

    def __len__(self) -> int:
        return len(self.addresses)

    def want(self, numbers: Sequence[int]) -> None:
        """Fetch these shards ahead, in this order, and let the others go."""
        if self.store is not None:
            self.store.want(numbers)

    def leave(self) -> None:
        """None is needed any more: what is being fetched is left."""
        if self.store is not None:
            self.store.leave()

    def open(self, number: int) -> Data:
        """The images of a shard, in the order in which they lie in it; labels are passed over."""
        address = self.addresses[number]
        path = Path(address) if self.store is None else self.store.wait(number)
        name = name_of(address)
        if self.index is not None:
            part = self.index.take_shards([name])
            reader = ShardReader([str(path)], part.places, part.content)
            return _as_data(part.ids, reader)
        listing = ShardListing(needs_labels=False)
        listing.read_shard(0, path, TRAIN, name)
        ids, _, places, _ = listing.table()
        return _as_data(ids, ShardReader([str(path)], places))


def _as_data(ids: NDArray[Any], reader: ShardReader) -> Data:
    samples = Samples(ids, np.zeros(len(ids), dtype=np.int64), ())
    return Data("shard", "shards", samples, None, reader)


def open_inputs(texts: Sequence[str]) -> ShardInputs:
    """The shards that these texts name, in the order of their names. DataError if one is missing.

    Near and far ones can't be mixed.
    """
    kinds = {is_url(text) for text in texts}
    if len(kinds) > 1:
        raise UsageError("shards on this machine and at URLs are mixed", "predict them in turns")
    if kinds.pop():
        return _open_far(texts)
    paths = sorted((path for text in texts for path in _paths(text)), key=lambda path: path.name)
    if not paths:
        raise DataError(f"{printable(texts[0])}: there is no shard", "check the path")
    refuse_twins([str(path) for path in paths])
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"the shard {printable(missing[0])} is not there", "check the path")
    index = _index_of(paths)
    stamps = [stamp_file(str(path)) for path in paths]
    if index is not None:
        stamps = []
        for path, shard in zip(paths, index.shards, strict=True):
            require_size(path, shard)
            stamps.append(f"{shard.bytes} {shard.sha256}")
    return ShardInputs(tuple(map(str, paths)), tuple(stamps), index)


def _paths(text: str) -> list[Path]:
    path = Path(text).expanduser()
    if path.is_dir():
        return find_shards(path)
    if any(sign in text for sign in "*?[") and not path.exists():
        return [Path(found) for found in glob.glob(os.fspath(path))]  # noqa: PTH207
    return [Path(part).expanduser() for part in expand(text)]


def _index_of(paths: Sequence[Path]) -> ShardIndex | None:
    """The index beside the shards, if all of them are in it."""
    folders = {path.parent for path in paths}
    place = folders.pop() / INDEX_NAME
    if folders or not place.is_file():
        return None
    return _part(read_index(place), [path.name for path in paths])


def _part(index: ShardIndex | None, names: Sequence[str]) -> ShardIndex | None:
    if index is None or not {shard.name for shard in index.shards} >= set(names):
        return None
    return index.take_shards(names)


def _open_far(texts: Sequence[str]) -> ShardInputs:
    network = open_network(texts[0])
    folders = FarFolders(network)
    addresses = sorted(
        (address for text in texts for address in folders.list_addresses(text)), key=name_of
    )
    refuse_twins(addresses)
    names = [name_of(address) for address in addresses]
    index = _part(folders.index_beside(addresses), names)
    if index is not None:
        shards = index.shards
        stamps = [f"{shard.bytes} {shard.sha256}" for shard in shards]
    else:
        facts = network.facts_of(addresses)
        stamps = [f"{found.size} {found.tag}" for found in facts]
        shards = tuple(
            Shard(name_of(address), found.size, "", TRAIN)
            for address, found in zip(addresses, facts, strict=True)
        )
    store = ShardStore(shards, addresses, cache_folder(), cache_limit())
    return ShardInputs(tuple(addresses), tuple(stamps), index, store)
