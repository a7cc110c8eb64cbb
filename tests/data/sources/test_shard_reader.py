"""Single images out of shards: in place, over the network, and never another one instead."""

import numpy as np
import pytest
from web_server import serving

from torchloupe.data.image.formats import ImageError
from torchloupe.data.shards.index import Shard
from torchloupe.data.shards.store import ShardStore
from torchloupe.data.sources import shard_reader as module
from torchloupe.data.sources.shard_reader import ShardReader, join_neighbours, require_shards
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
        assert len(server.asked) == 2  # the others side by side, with one request
        reader.store.fetch(0)
        asked = len(server.asked)
        assert [reader.read(row) for row in range(20)] == PIECES
        assert len(server.asked) == asked


def test_portions_are_fetched_ahead_and_let_go(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WARM_BYTES", 1_000)  # portions of three images
    rows = np.random.default_rng(0).permutation(20)
    with serving(folder) as server:
        reader = open_far(server, tmp_path)
        seen = []
        for some in reader.portions(rows):
            assert len(some) <= 3
            asked = len(server.asked)
            assert [reader.read(int(row)) for row in some] == [PIECES[row] for row in some]
            assert len(server.asked) == asked
            seen += some.tolist()
        assert seen == rows.tolist()
        assert len(server.asked) == 7
        reader.read(int(rows[-1]))
        assert len(server.asked) == 8  # nothing was kept


def test_neighbours_are_joined_unless_they_lie_far_apart(monkeypatch):
    monkeypatch.setattr(module, "GAP_BYTES", 200)
    monkeypatch.setattr(module, "REQUEST_BYTES", 1_000)
    places = np.array([[shard, 150 * number, 150] for shard in (0, 1) for number in range(20)])
    joined = [rows.tolist() for rows in join_neighbours(places, np.array([21, 3, 2, 5, 0, 4, 9]))]
    assert joined == [[0, 2, 3, 4, 5], [9], [21]]
    lengths = [len(rows) for rows in join_neighbours(places, np.arange(20))]
    assert lengths == [6, 6, 6, 2]  # 1,000 bytes a request
    assert join_neighbours(places, np.arange(0)) == []


def test_an_image_that_changed_does_not_spoil_its_neighbours(folder, tmp_path):
    whole = (folder / "a.tar").read_bytes()
    (folder / "a.tar").write_bytes(whole[:760] + b"?" + whole[761:])  # in the sixth
    with serving(folder) as server:
        reader = open_far(server, tmp_path)
        reader.warm(np.arange(20))
        assert [reader.read(row) for row in (0, 4, 6, 19)] == [PIECES[k] for k in (0, 4, 6, 19)]
        assert len(server.asked) == 1
        with pytest.raises(DataError, match=r"a\.tar changed"):
            reader.read(5)


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
