"""Sets of shards: on this machine or at a URL, with our index or without one.

Shards without an index are read once from end to end; what is in each is then kept in the cache
folder, under its address, size and tag.
"""

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.samples import Samples
from torchloupe.data.shards.addresses import (
    INDEX_NAME,
    expand,
    folder_of,
    has_braces,
    is_url,
    join,
    name_of,
    refuse_on_the_web,
    refuse_twins,
)
from torchloupe.data.shards.cellar import changed, choose_limit
from torchloupe.data.shards.index import (
    Shard,
    ShardIndex,
    join_names,
    read_index,
    split_names,
)
from torchloupe.data.shards.network import Facts, Network, open_network
from torchloupe.data.shards.store import ShardStore
from torchloupe.data.sources.labels import compare_splits, order_classes
from torchloupe.data.sources.shard_labels import spread_labels
from torchloupe.data.sources.shard_reader import ShardReader
from torchloupe.data.sources.shards import ShardListing, find_shards, open_shards, splits_of
from torchloupe.data.sources.source import Data, make_stamp, short_name
from torchloupe.data.split import TRAIN
from torchloupe.distributed.rank import find_rank
from torchloupe.errors import DataError, printable
from torchloupe.system.cache import Kept, remember, require_cache
from torchloupe.system.counter_rng import make_key
from torchloupe.system.files import replace_file
from torchloupe.units import plural

CACHE_GB = 20.0  # of whole shards, unless a setting says otherwise
SCANNERS = 4  # shards without an index that are read at a time


def names_shards(text: str) -> bool:
    """Whether `text` is a URL, or stands for several paths: `set/{000..009}.tar`."""
    return is_url(text) or (has_braces(text) and not os.path.exists(text))  # noqa: PTH110


def open_local_shards(path: Path, class_names: Sequence[str] = ()) -> Data:
    """Data from a tar file, a folder of them, or a pattern with `*`."""
    if path.is_dir():
        paths, name = find_shards(path), path.resolve().name
        if (path / INDEX_NAME).is_file():
            paths = [path / shard.name for shard in read_index(path / INDEX_NAME).shards]
    elif path.is_file():
        paths, name = [path], path.stem
    else:
        paths = [Path(found) for found in glob.glob(str(path))]  # noqa: PTH207 - may be absolute
        name = path.absolute().parent.name
    return _open_paths(sorted(paths), name, class_names)


def _open_paths(paths: Sequence[Path], name: str, class_names: Sequence[str]) -> Data:
    index = paths[0].parent / INDEX_NAME if paths else Path(INDEX_NAME)
    if not index.is_file() or any(path.parent != index.parent for path in paths):
        return open_shards(paths, name=name, class_names=class_names)
    found = read_index(index)
    if {shard.name for shard in found.shards}.isdisjoint(path.name for path in paths):
        return open_shards(paths, name=name, class_names=class_names)
    taken = _take(found, [str(path) for path in paths])
    for path, shard in zip(paths, taken.shards, strict=True):
        if not path.is_file():
            raise DataError(
                f"the shard {printable(path)} is not there, and the index beside it lists it",
                "put it back, or name the shards that are to be read: set/{000..009}.tar",
            )
        require_size(path, shard)
    return _make_data(taken, [str(path) for path in paths], name, class_names)


def require_size(path: Path, shard: Shard) -> None:
    """DataError for a shard on this machine that has another size than its index says."""
    if (size := path.stat().st_size) != shard.bytes:
        raise changed(str(path), f"it has {size:,} bytes, not {shard.bytes:,}")


def open_shard_set(text: str, class_names: Sequence[str] = ()) -> Data:
    """Data from shards at URLs: a file, a folder with an index, a pattern or ranges in braces."""
    if not is_url(text):
        paths = [Path(part).expanduser() for part in expand(text)]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise DataError(
                f"{len(missing):,} of {len(paths):,} shards are not there, the first is "
                f"{printable(missing[0])}",
                "check the range in braces",
            )
        return _open_paths(paths, paths[0].absolute().parent.name, class_names)
    network = open_network(text)
    addresses = list_addresses(text, network)
    refuse_twins(addresses)
    index = fetch_index_beside(addresses, network)
    notes: tuple[str, ...] = ()
    ignored: Counter[str] = Counter()
    if index is None:
        scanned = _scan_all(addresses, network)
        index, notes, ignored = _combine(addresses, scanned, class_names)
    else:
        index = _take(index, addresses)
    name = PurePosixPath(folder_of(addresses[0])).name or "shards"
    store = ShardStore(index.shards, addresses, cache_folder(), cache_limit())
    return _make_data(index, addresses, name, class_names, store, notes, ignored)


def limit_store(reader: Any, cache_gb: float) -> None:
    """Let the cache of far shards, if `reader` has one, take this many GB at most."""
    store = getattr(reader, "store", None)
    if isinstance(store, ShardStore):
        store.limit_bytes = cache_limit(cache_gb)


def cache_folder() -> Path:
    """Where whole shards are kept; ResourceError for a user without a home."""
    return require_cache(" for shards") / "shards"


def _index_file(key: str, ending: str) -> Path:
    """Where what is known of a far set or shard is kept, by its address, size and tag."""
    folder = cache_folder() / "indexes"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{make_key(key):016x}{ending}"


def cache_limit(cache_gb: float = CACHE_GB) -> int:
    """Bytes of shards that this process may keep."""
    launched = find_rank()
    return choose_limit(cache_folder(), cache_gb, launched.local_size if launched else 1)


def list_addresses(text: str, network: Network) -> list[str]:
    """The shards that a URL stands for, sorted by name."""
    found: list[str] = []
    is_web = network.protocol in ("http", "https")
    for part in expand(text):
        if is_web:
            refuse_on_the_web(part)
        if any(sign in part for sign in "*[") and not is_web:
            found += network.matches(part)
        elif name_of(part).lower().endswith(".tar"):
            found.append(part)
        else:
            found += _list_folder(part.rstrip("/"), network)
    if not found:
        raise DataError(f"{printable(text)}: there is no shard", "check the address")
    return sorted(found, key=name_of)


def _list_folder(folder: str, network: Network) -> list[str]:
    """The shards in a folder: those of its index, or those that are listed."""
    index = fetch_index(join(folder, INDEX_NAME), network)
    if index is not None:
        return [join(folder, shard.name) for shard in index.shards]
    if network.protocol in ("http", "https"):
        raise DataError(
            f"{printable(folder)} has no {INDEX_NAME}, and a web server does not list its files",
            "name the shards: {000..099}.tar, or write the set with `loupe shard`",
        )
    return [name for name in network.names_in(folder) if name_of(name).endswith(".tar")]


def fetch_index_beside(addresses: Sequence[str], network: Network) -> ShardIndex | None:
    """The index of far shards that lie in one folder; None where there is none."""
    folders = {folder_of(address) for address in addresses}
    return fetch_index(join(folders.pop(), INDEX_NAME), network) if len(folders) == 1 else None


def fetch_index(address: str, network: Network) -> ShardIndex | None:
    """The index of a far set; None if it has none. It is fetched again if it may have changed."""
    try:
        facts = network.facts(address)
    except DataError:
        return None
    path = _index_file(f"{address} {facts.size} {facts.tag}", ".safetensors")
    if not facts.tag or not path.is_file():
        replace_file(path, network.read(address))
    return read_index(path, address)


def _take(index: ShardIndex, addresses: Sequence[str]) -> ShardIndex:
    """The part of an index that is in these shards."""
    known = {shard.name for shard in index.shards}
    lost = [address for address in addresses if name_of(address) not in known]
    if lost:
        raise DataError(
            f"{plural(len(lost), 'shard')} not in the index beside them, the first is "
            f"{printable(lost[0])}",
            "write the set again with `loupe shard`, or remove the index",
        )
    return index.take_shards([name_of(address) for address in addresses])


def _make_data(
    index: ShardIndex,
    addresses: Sequence[str],
    name: str,
    class_names: Sequence[str],
    store: ShardStore | None = None,
    notes: tuple[str, ...] = (),
    ignored: Counter[str] | None = None,
) -> Data:
    names, labels = index.class_names, index.labels
    if class_names and tuple(class_names) != names:
        names, lookup = order_classes(list(index.class_names), class_names)
        if labels.ndim == 1:
            labels = lookup[labels]
        else:
            spread = np.zeros((len(labels), len(names)), dtype=labels.dtype)
            spread[:, lookup] = labels
            labels = spread
    parts = np.array([shard.part for shard in index.shards], dtype=np.int8)[index.places[:, 0]]
    is_given = len(np.unique(parts)) > 1  # of one split alone, nothing is divided
    if is_given and labels.ndim == 1:
        notes = (*notes, *compare_splits(labels, parts, names))
    sums = [f"{shard.bytes} {shard.sha256}" for shard in index.shards]
    return Data(
        name=short_name(name),
        kind="shards",
        samples=Samples(index.ids, labels, names),
        given=parts if is_given else None,
        reader=ShardReader(addresses, index.places, index.content, store),
        ignored=dict((ignored or Counter()).most_common()),
        notes=notes,
        stamp=make_stamp("shard set", index.ids, index.places, index.content, *sums),
        content=index.content,
    )


@dataclass(frozen=True, eq=False)
class _Scanned:
    """What is in one shard without an index."""

    shard: Shard
    kept: Kept


def _scan_all(addresses: Sequence[str], network: Network) -> list[_Scanned]:
    """What is in each shard; those not seen before are fetched and read."""
    parts = splits_of([PurePosixPath(address) for address in addresses])
    facts = network.facts_of(addresses)
    shards = [
        Shard(name_of(address), found.size, "", part)
        for address, found, part in zip(addresses, facts, parts, strict=True)
    ]
    store = ShardStore(shards, addresses, cache_folder(), cache_limit())
    with ThreadPoolExecutor(SCANNERS, thread_name_prefix="scan") as pool:
        return list(pool.map(lambda k: _scan(k, shards[k], facts[k], store), range(len(addresses))))


def _scan(number: int, shard: Shard, facts: Facts, store: ShardStore) -> _Scanned:
    address = store.address(number)
    key = f"{address} {facts.size} {facts.tag}"

    def make() -> Kept:
        store.path(number).unlink(missing_ok=True)  # it may be of an earlier content
        return scan_shard(store.fetch(number), shard.name)

    kept = remember(_index_file(key, ".kept"), key, make)
    return _Scanned(Shard(shard.name, shard.bytes, kept.facts["sha256"], shard.part), kept)


def scan_shard(path: Path, name: str) -> Kept:
    """What is in a shard called `name`, with keys of its images and its SHA-256."""
    listing = ShardListing()
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
        "ignored": dict(listing.ignored),
        "unpaired": listing.unpaired,
        "example": listing.example,
    }
    arrays: dict[str, NDArray[Any]] = {"ids": text, "id_bytes": lengths}
    return Kept(facts, {**arrays, "codes": codes, "places": places, "content": content})


def _combine(
    addresses: Sequence[str], scanned: Sequence[_Scanned], class_names: Sequence[str]
) -> tuple[ShardIndex, tuple[str, ...], Counter[str]]:
    """One index of all shards; notes, and counts of what was passed over."""
    texts: dict[str, int] = {}
    ignored: Counter[str] = Counter()
    ids, codes, places, content = [], [], [], []
    for number, one in enumerate(scanned):
        facts, arrays = one.kept.facts, one.kept.arrays
        own = [texts.setdefault(text, len(texts)) for text in facts["labels"]]
        ignored.update(facts["ignored"])
        ids.append(split_names(arrays["id_bytes"], arrays["ids"]))
        codes.append(np.array(own, dtype=np.int32)[arrays["codes"]])
        moved = arrays["places"].astype(np.int64)
        moved[:, 0] = number
        places.append(moved)
        content.append(arrays["content"].astype(np.uint64))
    if not sum(map(len, ids)):
        raise DataError(
            f"{plural(len(addresses), 'shard')} without one pair of image and label",
            "the layout is NAME.jpg beside NAME.cls, which holds a class name or number",
        )
    labels, names = spread_labels(list(texts), np.concatenate(codes), class_names)
    unpaired = sum(one.kept.facts["unpaired"] for one in scanned)
    example = next((e for one in scanned if (e := one.kept.facts["example"])), "")
    notes = (
        (
            f"{unpaired:,} members of the shards lack their partner (image or label), for example "
            f"{example}",
        )
        if unpaired
        else ()
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
