"""The index of a set of shards: written, read, taken apart, and refused where it can't be."""

import numpy as np
import pytest

from torchloupe.data.shards import index as module
from torchloupe.data.shards.index import (
    Shard,
    ShardIndex,
    join_names,
    read_index,
    split_names,
    write_index,
)
from torchloupe.errors import DataError
from torchloupe.system.cache import Kept, write_kept
from torchloupe.system.counter_rng import make_keys


def make_index(**changes):
    parts = {
        "shards": (Shard("a.tar", 5000, "aa", 0), Shard("b.tar", 4000, "bb", 1)),
        "class_names": ("cat", "dög\n"),
        "ids": np.array(["x/1.jpg", "x/ü.jpg", "y/3.jpg"], dtype=np.dtypes.StringDType()),
        "labels": np.array([0, 1, 0]),
        "places": np.array([[0, 512, 100], [0, 2048, 90], [1, 512, 80]]),
        "content": np.array([1, 2, 2**64 - 1], dtype=np.uint64),
    }
    return ShardIndex(**{**parts, **changes})


def same(a, b):
    return (
        a.shards == b.shards
        and a.class_names == b.class_names
        and all(
            np.array_equal(getattr(a, name), getattr(b, name))
            for name in ("ids", "labels", "places", "content")
        )
    )


def test_an_index_comes_back_as_it_was_written(tmp_path):
    index = make_index()
    write_index(tmp_path / "i", index)
    found = read_index(tmp_path / "i")
    assert same(found, index)
    assert not found.is_checked
    assert found.total_bytes == 9000
    assert np.array_equal(found.keys, make_keys(index.ids))
    assert np.array_equal(found.take_shards(["b.tar"]).keys, make_keys(["y/3.jpg"]))


def test_an_index_without_the_keys_of_its_names_is_read(tmp_path):
    kept = make_index().to_kept()
    arrays = {name: array for name, array in kept.arrays.items() if name != "keys"}
    write_kept(tmp_path / "i", Kept(kept.facts, arrays))
    found = read_index(tmp_path / "i")
    assert same(found, make_index())
    assert found.keys is None
    assert found.take_shards(["b.tar"]).keys is None


@pytest.mark.parametrize("at_once", [2, 65_536])
@pytest.mark.parametrize("more", [[], ["ü.jpg"], ["a\0"], ["x" * 2000], ["", "bc", ""]])
def test_names_come_apart_as_they_were_joined(monkeypatch, at_once, more):
    monkeypatch.setattr(module, "NAMES_AT_ONCE", at_once)
    names = ["a/1.jpg", "b/longer/12.jpeg", "c", *more]
    found = split_names(*join_names(np.array(names, dtype=np.dtypes.StringDType())))
    assert found.tolist() == names
    assert not len(split_names(*join_names(np.array([], dtype=np.dtypes.StringDType()))))


def test_a_flipped_bit_in_an_index_is_noticed(tmp_path):
    path = tmp_path / "i"
    write_index(path, make_index())
    whole = path.read_bytes()
    for place in range(10, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DataError, match="can't be used"):
            read_index(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"places": np.array([[0, 512, 100], [0, 4990, 90], [1, 512, 80]])},
        {"places": np.array([[0, 512, 100], [2, 512, 90], [1, 512, 80]])},
        {"places": np.array([[0, -1, 100], [0, 512, 90], [1, 512, 80]])},
        {"labels": np.array([0, 2, 0])},
        {"labels": np.array([0, 1])},
        {"keys": np.array([1, 2, 3], dtype=np.uint64)},
        {"keys": make_keys(["x/1.jpg", "x/ü.jpg"])},
    ],
)
def test_an_index_that_contradicts_itself_is_refused(tmp_path, changes):
    write_index(tmp_path / "i", make_index(**changes))
    with pytest.raises(DataError, match="can't be used"):
        read_index(tmp_path / "i")


def test_some_shards_of_an_index_are_an_index():
    part = make_index().take_shards(["b.tar", "a.tar"])
    assert part.ids.tolist() == ["y/3.jpg", "x/1.jpg", "x/ü.jpg"]
    assert part.places[:, 0].tolist() == [0, 1, 1]
    assert make_index().take_shards(["b.tar"]).labels.tolist() == [0]
