"""Sets of shards: on this machine or at a URL, with our index or without one, as a source."""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from torchloupe.data.samples import Samples
from torchloupe.data.shards.addresses import (
    INDEX_NAME,
    expand,
    folder_of,
    has_braces,
    is_url,
    join,
    name_of,
    refuse_twins,
)
from torchloupe.data.shards.cellar import changed
from torchloupe.data.shards.index import (
    Shard,
    ShardIndex,
    read_index,
)
from torchloupe.data.shards.network import open_network
from torchloupe.data.shards.store import ShardStore
from torchloupe.data.sources.far_shards import FarFolders, cache_folder, cache_limit
from torchloupe.data.sources.foreign_shards import combine, scan_shards
from torchloupe.data.sources.labels import compare_splits, order_classes
from torchloupe.data.sources.shard_members import USUAL, Columns
from torchloupe.data.sources.shard_reader import ShardReader
from torchloupe.data.sources.shards import find_shards, open_shards
from torchloupe.data.sources.source import Data, make_stamp, short_name
from torchloupe.errors import DataError, UsageError, printable
from torchloupe.units import plural


def names_shards(text: str) -> bool:
    """Whether `text` is a URL, or stands for several paths: `set/{000..009}.tar`."""
    return is_url(text) or (has_braces(text) and not os.path.exists(text))  # noqa: PTH110


def open_local_shards(
    path: Path,
    class_names: Sequence[str] = (),
    image_column: str = "auto",
    label_column: str = "auto",
) -> Data:
    """Data from a tar file, a folder of them, or a pattern with `*`."""
    columns = Columns(image_column, label_column)
    if path.is_dir():
        paths, name = find_shards(path), path.resolve().name
        if (path / INDEX_NAME).is_file():
            paths = [path / shard.name for shard in read_index(path / INDEX_NAME).shards]
    elif path.is_file():
        paths, name = [path], path.stem
    else:
        paths = [Path(found) for found in glob.glob(str(path))]  # noqa: PTH207 - may be absolute
        name = path.absolute().parent.name
    return _open_paths(sorted(paths), name, class_names, columns)


def _open_paths(
    paths: Sequence[Path], name: str, class_names: Sequence[str], columns: Columns
) -> Data:
    index = paths[0].parent / INDEX_NAME if paths else Path(INDEX_NAME)
    if not index.is_file() or any(path.parent != index.parent for path in paths):
        return open_shards(paths, name=name, class_names=class_names, columns=columns)
    found = read_index(index)
    if {shard.name for shard in found.shards}.isdisjoint(path.name for path in paths):
        return open_shards(paths, name=name, class_names=class_names, columns=columns)
    _refuse_columns(columns, index)
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


class IndexedError(UsageError):
    """It was typed what the image or label is, and an index says it."""


def _refuse_columns(columns: Columns, index: str | Path) -> None:
    """IndexedError where it was typed what the image or label is, and an index says it."""
    if columns != USUAL:
        raise IndexedError(
            f"images and labels are those of {printable(index)}, and data.image_column and "
            "data.label_column are for shards without an index",
            "leave them out, or remove the index",
        )


def open_shard_set(
    text: str,
    class_names: Sequence[str] = (),
    image_column: str = "auto",
    label_column: str = "auto",
) -> Data:
    """Data from shards at URLs: a file, a folder with an index, a pattern or ranges in braces."""
    columns = Columns(image_column, label_column)
    if not is_url(text):
        paths = [Path(part).expanduser() for part in expand(text)]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise DataError(
                f"{len(missing):,} of {len(paths):,} shards are not there, the first is "
                f"{printable(missing[0])}",
                "check the range in braces",
            )
        return _open_paths(paths, paths[0].absolute().parent.name, class_names, columns)
    network = open_network(text)
    folders = FarFolders(network)
    addresses = folders.list_addresses(text)
    refuse_twins(addresses)
    index = folders.index_beside(addresses)
    notes: tuple[str, ...] = ()
    ignored: Counter[str] = Counter()
    if index is None:
        scanned = scan_shards(addresses, network, columns)
        index, notes, ignored = combine(addresses, scanned, class_names)
    else:
        _refuse_columns(columns, join(folder_of(addresses[0]), INDEX_NAME))
        index = _take(index, addresses)
    name = PurePosixPath(folder_of(addresses[0])).name or "shards"
    store = ShardStore(index.shards, addresses, cache_folder(), cache_limit())
    return _make_data(index, addresses, name, class_names, store, notes, ignored)


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
        samples=Samples(index.ids, labels, names, known_keys=index.keys),
        given=parts if is_given else None,
        reader=ShardReader(addresses, index.places, index.content, store),
        ignored=dict((ignored or Counter()).most_common()),
        notes=notes,
        stamp=make_stamp("shard set", index.ids, index.places, index.content, *sums),
        content=index.content,
    )
