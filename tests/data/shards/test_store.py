"""The cache of whole shards: bounded, verified, shared, and honest about what changed."""

import hashlib
import os
import threading
import time

import pytest
from web_server import serving

from torchloupe.data.shards import cellar as module
from torchloupe.data.shards.cellar import choose_limit
from torchloupe.data.shards.index import Shard
from torchloupe.data.shards.store import ShardStore
from torchloupe.errors import DataError, ResourceError

SIZE = 30_000


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "far"
    folder.mkdir()
    found = []
    for number in range(8):
        content = bytes([number]) * SIZE
        (folder / f"{number}.tar").write_bytes(content)
        found.append(Shard(f"{number}.tar", SIZE, hashlib.sha256(content).hexdigest(), 0))
    return folder, found


def open_store(server, shards, tmp_path, limit=10**9):
    addresses = [f"{server.url}/{shard.name}" for shard in shards]
    return ShardStore(shards, addresses, tmp_path / "cache", limit)


def wait_for(store, number):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if (path := store.find(number)) is not None:
            return path
    raise AssertionError(f"shard {number} did not come")


def held(tmp_path):
    return sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.tar"))


def test_wanted_shards_come_whole_and_the_disk_stays_bounded(shards, tmp_path):
    folder, found = shards
    with serving(folder, failing=0.1) as server:
        store = open_store(server, found, tmp_path, limit=3 * SIZE)
        for first in range(6):
            store.want(range(first, 8))
            assert wait_for(store, first).read_bytes() == bytes([first]) * SIZE
            assert held(tmp_path) <= 3 * SIZE
        store.leave()
    assert store.find(0) is None


def test_what_nobody_needs_any_more_is_not_fetched_on(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PIECE_BYTES", 1000)
    folder, found = shards
    with serving(folder, delay=0.1) as server:
        store = open_store(server, found, tmp_path)
        store.want(range(8), "feed")
        while not server.asked:
            time.sleep(0.01)
        store.leave("feed")
        store.leave("feed")  # of one that is gone already, this is no error
        for thread in threading.enumerate():
            if thread.name == "shards":
                thread.join(20)
        assert store.here() == []
        assert not list((tmp_path / "cache").glob("*.part"))
        monkeypatch.setattr(module, "PIECE_BYTES", SIZE)
        store.want([3], "feed")
        assert wait_for(store, 3).stat().st_size == SIZE


def test_the_shards_of_a_reader_come_back_when_another_is_done(shards, tmp_path):
    folder, found = shards
    with serving(folder) as server:
        store = open_store(server, found, tmp_path, limit=2 * SIZE)
        store.want([0, 1], "feed")
        wait_for(store, 0), wait_for(store, 1)
        store.want([2, 3], "scan")
        wait_for(store, 2), wait_for(store, 3)
        assert sorted(store.here()) == [2, 3]
        store.leave("scan")
        wait_for(store, 0), wait_for(store, 1)
        assert sorted(store.here()) == [0, 1]
        assert held(tmp_path) <= 2 * SIZE


def test_a_shard_that_nobody_asked_for_is_used_while_it_is_here(shards, tmp_path):
    folder, found = shards
    with serving(folder) as server:
        store = open_store(server, found, tmp_path)
        store.want([0])
        wait_for(store, 0)
        store.want([1])
        wait_for(store, 1)
        assert store.find(0) is not None
        assert store.find(2) is None
        assert [path for _, path in server.asked] == ["/0.tar", "/1.tar"]


def test_what_is_there_is_not_fetched_again_and_threads_share_a_fetch(shards, tmp_path):
    folder, found = shards
    with serving(folder, delay=0.05) as server:
        stores = [open_store(server, found, tmp_path) for _ in range(3)]
        threads = [threading.Thread(target=store.fetch, args=(1,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [path for _, path in server.asked] == ["/1.tar"]
        assert sum(store.fetched for store in stores) == 1
    assert not list((tmp_path / "cache").glob("*.part"))


def test_fetching_one_after_the_other_stays_within_the_limit(shards, tmp_path):
    folder, found = shards
    with serving(folder) as server:
        store = open_store(server, found, tmp_path, limit=2 * SIZE)
        for number in range(5):
            assert store.fetch(number).read_bytes() == bytes([number]) * SIZE
            assert held(tmp_path) <= 2 * SIZE


def test_a_changed_shard_is_named(shards, tmp_path):
    folder, found = shards
    (folder / "2.tar").write_bytes(bytes([9]) * SIZE)
    with serving(folder) as server:
        store = open_store(server, found, tmp_path)
        store.want([2])
        with pytest.raises(DataError, match=r"2\.tar changed since its index was written"):
            wait_for(store, 2)
    assert held(tmp_path) == 0


def test_a_vanished_shard_is_named(shards, tmp_path):
    folder, found = shards
    (folder / "2.tar").unlink()
    with serving(folder) as server:
        store = open_store(server, found, tmp_path)
        store.want([2])
        with pytest.raises(DataError, match=r"2\.tar is not there"):
            wait_for(store, 2)


def test_a_shard_that_another_process_removed_is_fetched_again(shards, tmp_path):
    folder, found = shards
    with serving(folder) as server:
        store = open_store(server, found, tmp_path)
        store.want([3])
        wait_for(store, 3).unlink()
        store.forget(3)
        assert wait_for(store, 3).stat().st_size == SIZE
        assert store.fetched == 2


def test_shards_that_others_use_now_are_kept_and_old_ones_go(shards, tmp_path):
    folder, found = shards
    with serving(folder) as server:
        store = open_store(server, found, tmp_path)
        paths = [store.fetch(number) for number in range(3)]
        long_ago = time.time() - 2 * module.AGED_SECONDS
        os.utime(paths[0], (long_ago, long_ago))
        other = open_store(server, found, tmp_path, limit=SIZE)
        other.want([5])
        wait_for(other, 5)
    assert [path.exists() for path in paths] == [False, True, True]


def test_the_limit_is_shared_by_the_processes_of_a_machine(tmp_path, monkeypatch):
    assert choose_limit(tmp_path, 0.001, 2) == 500_000
    monkeypatch.setattr(module, "SPARE_BYTES", 2**62)
    with pytest.raises(ResourceError, match="no room"):
        choose_limit(tmp_path, 1.0, 1)
