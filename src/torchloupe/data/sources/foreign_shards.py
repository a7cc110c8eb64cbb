"""Shards without an index, as others write them: read once from end to end, then known.

What is in each is kept in the cache folder, under its address, size and tag.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.shards.addresses import folder_of, name_of
from torchloupe.data.shards.index import Shard, ShardIndex, join_names, split_names
from torchloupe.data.shards.network import Facts, Network
from torchloupe.data.shards.store import ShardStore
from torchloupe.data.sources.column_names import NAME_COLUMNS
from torchloupe.data.sources.column_roles import plain_name
from torchloupe.data.sources.far_shards import cache_folder, cache_limit, index_file
from torchloupe.data.sources.shard_labels import require_one_place, spread_labels
from torchloupe.data.sources.shard_members import USUAL, Columns
from torchloupe.data.sources.shards import ShardListing, no_pairs, splits_of
from torchloupe.data.sources.source import name_some
from torchloupe.data.split import TRAIN
from torchloupe.errors import printable
from torchloupe.system.cache import Kept, remember
from torchloupe.system.counter_rng import make_key

READING = 3  # raised when the same shard would be read in another way
SCANNERS = 4  # shards that are read at a time


@dataclass(frozen=True, eq=False)
class Scanned:
    """What is in one shard without an index."""

    shard: Shard
    kept: Kept


def scan_shards(addresses: Sequence[str], network: Network, columns: Columns) -> list[Scanned]:
    """What is in each shard; those not seen before are fetched and read."""
    parts = splits_of([PurePosixPath(address) for address in addresses])
    facts = network.facts_of(addresses)
    shards = [
        Shard(name_of(address), found.size, "", part)
        for address, found, part in zip(addresses, facts, parts, strict=True)
    ]
    store = ShardStore(shards, addresses, cache_folder(), cache_limit())
    with ThreadPoolExecutor(SCANNERS, thread_name_prefix="scan") as pool:
        numbers = range(len(addresses))
        return list(pool.map(lambda k: _scan(k, shards[k], facts[k], store, columns), numbers))


def _scan(number: int, shard: Shard, facts: Facts, store: ShardStore, columns: Columns) -> Scanned:
    address = store.address(number)
    key = f"{address} {facts.size} {facts.tag} {READING} {columns.image} {columns.label}"

    def make() -> Kept:
        store.path(number).unlink(missing_ok=True)  # it may be of an earlier content
        return scan_shard(store.fetch(number), shard.name, columns)

    kept = remember(index_file(key, ".kept"), key, make)
    return Scanned(Shard(shard.name, shard.bytes, kept.facts["sha256"], shard.part), kept)


def scan_shard(path: Path, name: str, columns: Columns = USUAL) -> Kept:
    """What is in a shard called `name`, with keys of its images and its SHA-256."""
    listing = ShardListing(columns=columns)
    listing.read_shard(0, path, TRAIN, name)
    ids, codes, places, _ = listing.table()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        content = np.zeros(len(ids), dtype=np.uint64)
        for row, (_, offset, size) in enumerate(places.tolist()):
            file.seek(offset)
            content[row] = make_key(file.read(size))
    lengths, text = join_names(ids)
    facts = {
        "sha256": digest,
        "labels": list(listing.labels),
        "places_of_labels": dict(listing.places_of_labels),
        "ignored": dict(listing.ignored),
        "unpaired": listing.unpaired,
        "example": listing.example,
        "columns": [n for n in listing.beside if plain_name(n) not in NAME_COLUMNS],
    }
    arrays: dict[str, NDArray[Any]] = {"ids": text, "id_bytes": lengths}
    return Kept(facts, {**arrays, "codes": codes, "places": places, "content": content})


def combine(
    addresses: Sequence[str], scanned: Sequence[Scanned], class_names: Sequence[str]
) -> tuple[ShardIndex, tuple[str, ...], Counter[str]]:
    """One index of all shards; notes, and counts of what was passed over."""
    texts: dict[str, int] = {}
    ignored: Counter[str] = Counter()
    labelled: Counter[str] = Counter()
    ids, codes, places, content = [], [], [], []
    for number, one in enumerate(scanned):
        facts, arrays = one.kept.facts, one.kept.arrays
        own = [texts.setdefault(text, len(texts)) for text in facts["labels"]]
        ignored.update(facts["ignored"])
        labelled.update(facts["places_of_labels"])
        ids.append(split_names(arrays["id_bytes"], arrays["ids"]))
        codes.append(np.array(own, dtype=np.int32)[arrays["codes"]])
        moved = arrays["places"].astype(np.int64)
        moved[:, 0] = number
        places.append(moved)
        content.append(arrays["content"].astype(np.uint64))
    if not sum(map(len, ids)):
        raise no_pairs(printable(folder_of(addresses[0])), len(addresses), ignored)
    require_one_place(labelled, printable(folder_of(addresses[0])))
    labels, names = spread_labels(list(texts), np.concatenate(codes), class_names)
    unpaired = sum(one.kept.facts["unpaired"] for one in scanned)
    example = next((e for one in scanned if (e := one.kept.facts["example"])), "")
    notes: tuple[str, ...] = (
        (
            f"{unpaired:,} members of the shards lack their partner (image or label), for example "
            f"{example}",
        )
        if unpaired
        else ()
    )
    told = sorted({name for one in scanned for name in one.kept.facts["columns"]})
    if told:
        notes += (
            f"entries {name_some(told)} of the .json members are not used in shards that are far: "
            "there only names of shards say a split (train-*, val-*, test-*)",
        )
    index = ShardIndex(
        tuple(one.shard for one in scanned),
        names,
        np.concatenate(ids),
        labels,
        np.concatenate(places),
        np.concatenate(content),
    )
    return index, notes, ignored
