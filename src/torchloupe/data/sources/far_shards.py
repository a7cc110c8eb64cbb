"""Shards at URLs: which ones an address stands for, their index, and where both are kept here.

What is in shards without an index is for data/sources/foreign_shards.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from torchloupe.data.shards.addresses import (
    INDEX_NAME,
    expand,
    folder_of,
    join,
    name_of,
    refuse_on_the_web,
)
from torchloupe.data.shards.cellar import choose_limit
from torchloupe.data.shards.index import ShardIndex, read_index
from torchloupe.data.shards.network import WEB, Network
from torchloupe.data.shards.store import ShardStore
from torchloupe.distributed.rank import find_rank
from torchloupe.errors import DataError, printable
from torchloupe.system.cache import require_cache
from torchloupe.system.counter_rng import make_key
from torchloupe.system.files import replace_file

CACHE_GB = 20.0  # of whole shards, unless a setting says otherwise


class FarFolders:
    """Far folders of shards, as one opening sees them: the index of each is asked for once."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._found: dict[str, ShardIndex | None] = {}

    def list_addresses(self, text: str) -> list[str]:
        """The shards that a URL stands for, sorted by name."""
        found: list[str] = []
        is_web = self.network.protocol in WEB
        for part in expand(text):
            if is_web:
                refuse_on_the_web(part)
            if any(sign in part for sign in "*[") and not is_web:
                found += self.network.matches(part)
            elif name_of(part).lower().endswith(".tar"):
                found.append(part)
            else:
                found += self._list_folder(part.rstrip("/"))
        if not found:
            raise DataError(f"{printable(text)}: there is no shard", "check the address")
        return sorted(found, key=name_of)

    def index_beside(self, addresses: Sequence[str]) -> ShardIndex | None:
        """The index of shards that lie in one folder; None where there is none."""
        folders = {folder_of(address) for address in addresses}
        return self._index_in(folders.pop()) if len(folders) == 1 else None

    def _list_folder(self, folder: str) -> list[str]:
        """The shards in a folder: those of its index, or those that are listed."""
        index = self._index_in(folder)
        if index is not None:
            return [join(folder, shard.name) for shard in index.shards]
        if self.network.protocol in WEB:
            raise DataError(
                f"{printable(folder)} has no {INDEX_NAME}, and a web server does not list its "
                "files",
                "name the shards: {000..099}.tar, or write the set with `loupe shard`",
            )
        names = self.network.names_in(folder)
        return [name for name in names if name_of(name).endswith(".tar")]

    def _index_in(self, folder: str) -> ShardIndex | None:
        if folder not in self._found:
            self._found[folder] = fetch_index(join(folder, INDEX_NAME), self.network)
        return self._found[folder]


def fetch_index(address: str, network: Network) -> ShardIndex | None:
    """The index of a far set; None if it has none.

    It is fetched again if it changed, may have changed, or is damaged where it was kept. One that
    may not be read counts as none: public buckets answer so for files that are not there.
    """
    try:
        facts = network.facts(address)
    except DataError:
        return None
    path = index_file(f"{address} {facts.size} {facts.tag}", ".safetensors")
    with FileLock(path.with_suffix(".lock")):  # ranks that begin together fetch it once
        if facts.tag and path.is_file():
            with suppress(DataError):
                return read_index(path, address)
        content = network.read(address)
        if content.lstrip()[:1] == b"<":
            return None  # a page: some servers answer so for files that are not there
        replace_file(path, content)
        return read_index(path, address)


def cache_folder() -> Path:
    """Where whole shards are kept; ResourceError for a user without a home."""
    return require_cache(" for shards") / "shards"


def index_file(key: str, ending: str) -> Path:
    """Where what is known of a far set or shard is kept, by its address, size and tag."""
    folder = cache_folder() / "indexes"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{make_key(key):016x}{ending}"


def cache_limit(cache_gb: float = CACHE_GB) -> int:
    """Bytes of shards that this process may keep."""
    launched = find_rank()
    return choose_limit(cache_folder(), cache_gb, launched.local_size if launched else 1)


def limit_store(reader: Any, cache_gb: float) -> None:
    """Let the cache of far shards, if `reader` has one, take this many GB at most."""
    store = getattr(reader, "store", None)
    if isinstance(store, ShardStore):
        store.limit_bytes = cache_limit(cache_gb)
