"""The order of the shards: each once an epoch, at a time that tells nothing of other epochs."""

from itertools import pairwise

import numpy as np
import pytest

from torchloupe.data.feeds.shard_turns import EPOCHS_TOGETHER, ShardTurns, mean_places
from torchloupe.errors import UsageError
from torchloupe.system.counter_rng import make_keys


def make_turns(sizes, layout=(8, 4), seed=0):
    sizes = np.asarray(sizes, dtype=np.int64)
    return ShardTurns(sizes, make_keys(f"{k}.tar" for k in range(len(sizes))), seed, layout)


def mean_times(turns, epoch, shards):
    """At which place in their lane samples of each shard are, on average, from -0.5 to 0.5."""
    layout = turns.lay_out(turns.order(epoch))
    length = layout.sizes.sum() / turns.lanes
    middle = mean_places(layout) / length - layout.lane - 0.5
    found = np.zeros(shards)
    np.add.at(found, layout.shard, middle * layout.sizes)
    return found / np.bincount(layout.shard, layout.sizes, shards)


def correlate(one, other, sizes):
    """Of the positions of single samples, which vary by 1/12 in all."""
    return (one * other * sizes).sum() / sizes.sum() * 12


@pytest.mark.parametrize("shards", [1, 2, 7, 40, 83])
@pytest.mark.parametrize("layout", [(1, 1), (8, 4), (7, 2), (200, 3)])
def test_every_shard_with_samples_has_one_turn(shards, layout):
    sizes = np.random.default_rng(shards).integers(0, 30, shards)
    sizes[0] = 11
    turns = make_turns(sizes, layout)
    for epoch in (0, 1, EPOCHS_TOGETHER - 1, EPOCHS_TOGETHER):
        order = turns.order(epoch)
        assert np.array_equal(np.sort(order), np.flatnonzero(sizes))
        layout_of = turns.lay_out(order)
        assert np.array_equal(np.bincount(layout_of.shard, layout_of.sizes, shards), sizes)
        assert layout_of.begin.min() >= 0
        assert (layout_of.begin + layout_of.span).max() <= sizes.sum()


def test_the_turns_of_an_epoch_need_none_before_them():
    walked = make_turns([100] * 60)
    orders = [walked.order(epoch) for epoch in range(2 * EPOCHS_TOGETHER + 2)]
    for epoch in (0, 5, EPOCHS_TOGETHER - 1, EPOCHS_TOGETHER, 2 * EPOCHS_TOGETHER + 1):
        assert np.array_equal(make_turns([100] * 60).order(epoch), orders[epoch])
    assert len({order.tobytes() for order in orders}) == len(orders)
    assert not np.array_equal(make_turns([100] * 60, seed=1).order(0), orders[0])


def test_turns_depend_on_names_and_not_on_where_shards_are_listed():
    listed, keys = np.random.default_rng(0).permutation(50), make_keys(map(str, range(50)))
    sizes = np.arange(100, 150)
    one = ShardTurns(sizes, keys, 0, (4, 2))
    other = ShardTurns(sizes[listed], keys[listed], 0, (4, 2))
    for epoch in (0, 3):
        assert np.array_equal(listed[other.order(epoch)], one.order(epoch))


@pytest.mark.parametrize(
    ("shards", "varying", "chances"), [(400, 0, 1), (64, 0, 1.6), (100, 40, 1), (64, 300, 2)]
)
def test_times_of_epochs_that_follow_each_other_are_not_correlated(shards, varying, chances):
    sizes = np.full(shards, 100_000 // shards)
    sizes += np.random.default_rng(1).integers(-varying, varying + 1, shards)
    turns = make_turns(sizes)
    times = [mean_times(turns, epoch, shards) for epoch in range(2 * EPOCHS_TOGETHER + 4)]
    pairs = [correlate(one, other, sizes) for one, other in pairwise(times)]
    together = [
        correlate(times[one], times[other], sizes)
        for one in range(EPOCHS_TOGETHER)
        for other in range(one)
    ]
    chance = 1 / np.sqrt(sizes.sum())  # of a full shuffle; as many draws as shards have 0.05
    assert np.std(pairs) < min(chances, 1.2) * chance
    assert np.std(together) < chances * chance
    assert np.mean([correlate(time, time, sizes) for time in times]) > 0.3  # shards have times


def test_mean_places_are_those_of_samples_in_the_order_of_their_times():
    turns = make_turns(np.random.default_rng(2).integers(600, 1400, 24), layout=(3, 4))
    layout = turns.lay_out(turns.order(1))
    piece = np.repeat(np.arange(len(layout.sizes)), layout.sizes)
    within = np.concatenate([(np.arange(size) + 0.5) / size for size in layout.sizes])
    time = layout.begin[piece] + within * layout.span[piece]
    place = np.empty(len(time))
    place[np.lexsort((time, layout.lane[piece]))] = np.arange(len(time))
    seen = np.bincount(piece, place) / layout.sizes
    assert np.abs(seen - mean_places(layout)).max() < 5
    assert np.abs(seen - layout.begin - layout.span / 2).max() > 100  # places are not times


def test_where_all_shards_are_in_use_anyway_all_are_mixed():
    turns = make_turns([250] * 40)
    assert np.abs(mean_times(turns, 1, 40)).max() < 1e-9
    assert np.abs(mean_times(make_turns([250] * 41), 1, 41)).max() > 0.1


def test_each_shard_is_early_in_some_epochs_and_late_in_others():
    shards = 160
    turns = make_turns([50] * shards)
    times = np.stack([mean_times(turns, epoch, shards) for epoch in range(64)])
    assert np.abs(times.mean(axis=0)).max() < 5 * np.sqrt(1 / 12 / 64)
    assert times.std(axis=0).min() > 0.15


def test_turns_are_the_same_on_every_machine():
    turns = make_turns([30, 31, 29, 30, 33, 0, 30, 28, 30, 30, 31, 30] * 2, (2, 2), seed=7)
    assert turns.order(2).tolist() == [
        19,
        13,
        15,
        20,
        0,
        12,
        2,
        10,
        16,
        4,
        9,
        11,
        6,
        14,
        23,
        22,
        21,
        7,
        3,
        1,
        18,
        8,
    ]
    assert turns.order(EPOCHS_TOGETHER - 1).tolist() == [
        13,
        9,
        8,
        6,
        21,
        23,
        0,
        20,
        19,
        18,
        11,
        15,
        10,
        14,
        2,
        3,
        1,
        16,
        7,
        12,
        4,
        22,
    ]


def test_layouts_of_nothing_are_refused():
    for layout in ((0, 1), (1, 0)):
        with pytest.raises(UsageError, match=r"data\.lanes"):
            make_turns([5, 5], layout)
