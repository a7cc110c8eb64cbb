"""Single images out of shards: in place, over the network, and never another one instead."""

import numpy as np
import pytest
from web_server import serving

from torchloupe.data.image.formats import ImageError
from torchloupe.data.shards.index import Shard
from torchloupe.data.shards.store import ShardStore
from torchloupe.data.sources.shard_reader import ShardReader, require_shards
from torchloupe.errors import DataError
from torchloupe.system.counter_rng import make_key

PIECES = [b"%03d" % number * 50 for number in range(20)]
PLACES = np.array([[0, 150 * number, 150] for number in range(20)])
CONTENT = np.array([make_key(piece) for piece in PIECES], dtype=np.uint64)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "far"
    folder.mkdir()
    (folder / "a.tar").write_bytes(b"".join(PIECES))
    return folder


def open_far(server, tmp_path):
    address = f"{server.url}/a.tar"
    store = ShardStore([Shard("a.tar", 3000, "", 0)], [address], tmp_path / "cache", 10**6)
    return ShardReader([address], PLACES, CONTENT, store)


def test_near_images_are_read_in_place_and_a_changed_one_is_refused(folder):
    reader = ShardReader([str(folder / "a.tar")], PLACES, CONTENT)
    assert [reader.read(row) for row in range(20)] == PIECES
    (folder / "a.tar").write_bytes(b"x" * 3000)
    with pytest.raises(DataError, match=r"a\.tar changed since its index was written"):
        reader.read(3)
    (folder / "a.tar").unlink()
    with pytest.raises(ImageError, match="no such file"):
        reader.read(3)


def test_far_images_come_one_by_one_until_their_shard_is_here(folder, tmp_path):
    with serving(folder) as server:
        reader = open_far(server, tmp_path)
        assert reader.read(4) == PIECES[4]
        assert reader.read(4) == PIECES[4]
        assert len(server.asked) == 1  # the second time it was kept
        reader.warm(np.arange(20))
        assert len(server.asked) == 20
        reader.store.fetch(0)
        asked = len(server.asked)
        assert [reader.read(row) for row in range(20)] == PIECES
        assert len(server.asked) == asked


def test_a_damaged_file_in_the_cache_is_fetched_again(folder, tmp_path):
    with serving(folder) as server:
        reader = open_far(server, tmp_path)
        path = reader.store.fetch(0)
        whole = path.read_bytes()
        path.write_bytes(whole[:160] + b"?" + whole[161:])
        assert reader.read(1) == PIECES[1]
        assert not path.exists()


def test_a_far_image_that_is_another_one_is_refused(folder, tmp_path):
    with serving(folder) as server:
        reader = open_far(server, tmp_path)
        (folder / "a.tar").write_bytes(b"x" * 3000)
        with pytest.raises(DataError, match=r"a\.tar changed"):
            reader.read(0)


def test_other_readers_can_not_be_streamed():
    with pytest.raises(DataError, match="only tar shards"):
        require_shards(object())
