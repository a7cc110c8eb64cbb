"""The order of samples in shards: every one once, near each other in time, and well mixed."""

import numpy as np
import pytest

from torchloupe.data.feeds.order import Order
from torchloupe.data.feeds.rank_share import RankShare
from torchloupe.data.feeds.shard_order import ShardOrder, deal, lane_starts
from torchloupe.errors import UsageError
from torchloupe.system.counter_rng import make_keys


def make_order(count=1000, shards=20, batch=32, seed=0, layout=(4, 3), rows=None):
    keys = make_keys(str(k) for k in range(count))
    shard_of = np.arange(count) * shards // count
    rows = np.arange(count) if rows is None else rows
    shard_keys = make_keys(f"{k}.tar" for k in range(shards))
    return ShardOrder(rows, keys, batch, seed, shard_of, shard_keys, layout)


def epoch_positions(order, epoch):
    found = np.empty(len(order.rows))
    found[np.concatenate([order.batch(s) for s in steps_of(order, epoch)])] = np.arange(len(found))
    return found


def steps_of(order, epoch):
    return range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)


@pytest.mark.parametrize("layout", [(1, 1), (4, 3), (7, 2), (8, 50), (2000, 1)])
@pytest.mark.parametrize("count", [1, 31, 1000, 1003])
def test_an_epoch_has_every_sample_once(count, layout):
    order = make_order(count, shards=min(20, count), layout=layout)
    for epoch in range(2):
        seen = np.concatenate([order.batch(step) for step in steps_of(order, epoch)])
        assert np.array_equal(np.sort(seen), np.arange(count))
    assert {len(order.batch(step)) for step in range(count // 32)} <= {32}


def test_a_split_of_the_samples_is_all_that_is_visited():
    rows = np.arange(0, 1000, 3)
    order = make_order(rows=rows)
    seen = np.concatenate([order.batch(step) for step in steps_of(order, 5)])
    assert np.array_equal(np.sort(seen), rows)


def test_the_batch_of_a_step_needs_no_step_before_it():
    walked = [rows for (_, rows), _ in zip(make_order().batches(), range(100), strict=False)]
    for step in (0, 31, 32, 99):
        assert np.array_equal(make_order().batch(step), walked[step])


def test_epochs_seeds_and_layouts_differ():
    first = make_order().batch(0).tolist()
    assert first == make_order().batch(0).tolist()
    assert first != make_order(seed=1).batch(0).tolist()
    assert first != make_order().batch(32).tolist()
    assert first != make_order(layout=(4, 2)).batch(0).tolist()


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 8])
def test_ranks_read_their_own_lanes_and_together_the_same_batches(ranks):
    order = make_order(count=4096, shards=64, batch=64, layout=(8, 2))
    shard_of = np.arange(4096) * 64 // 4096
    read = [set() for _ in range(ranks)]
    for step in range(order.steps_per_epoch):
        rows = order.batch(step)
        shares = [RankShare(rank, ranks).take(rows).rows for rank in range(ranks)]
        assert np.concatenate(shares).tolist() == rows.tolist()
        for rank, share in enumerate(shares):
            read[rank].update(shard_of[share].tolist())
    # A lane's end may cut a shard in two; three ranks cut two lanes as well.
    assert sum(map(len, read)) <= 64 + (8 - 1) + (64 // 8 + 2) * (2 if ranks == 3 else 0)


def test_few_shards_are_in_use_at_a_time():
    order = make_order(count=40_000, shards=400, batch=64, layout=(4, 3))
    shard_of = np.arange(40_000) * 400 // 40_000
    for step in (0, 100, 300, order.steps_per_epoch - 11):
        window = np.concatenate([order.batch(s) for s in range(step, step + 10)])
        assert len(np.unique(shard_of[window])) <= 4 * (3 + 2)


def test_it_knows_how_many_batches_a_shard_lasts():
    order = make_order(count=4000, shards=80, batch=50, layout=(4, 3))
    assert order.batches_of_a_shard == 4  # 50 samples, of which a batch takes 12 or 13
    assert make_order(count=10, shards=10, batch=50, layout=(4, 3)).batches_of_a_shard == 1


def test_mixing_all_shards_is_as_good_as_a_full_shuffle():
    mixed = make_order(count=4000, shards=8, layout=(1, 8))
    whole = Order(np.arange(4000), make_keys(str(k) for k in range(4000)), 32, 0)
    spread = {}
    for name, order in (("mixed", mixed), ("whole", whole)):
        found = [epoch_positions(order, epoch) for epoch in range(12)]
        pairs = [np.corrcoef(found[k], found[k + 1])[0, 1] for k in range(11)]
        spread[name] = np.abs(pairs).mean()
    assert spread["mixed"] < 3 / np.sqrt(4000)
    assert spread["whole"] < 3 / np.sqrt(4000)


def test_positions_in_two_epochs_are_not_correlated():
    order = make_order(count=4000, shards=80, layout=(4, 4))
    found = [epoch_positions(order, epoch) for epoch in range(9)]
    pairs = [np.corrcoef(found[k], found[k + 1])[0, 1] for k in range(8)]
    assert abs(np.mean(pairs)) < 3 / np.sqrt(8 * 80)  # as many draws as there are shards


def test_layouts_of_nothing_are_refused():
    for layout in ((0, 1), (1, 0)):
        with pytest.raises(UsageError, match=r"data\.lanes"):
            make_order(layout=layout)


@pytest.mark.parametrize(("count", "lanes"), [(10, 3), (7, 7), (100, 8)])
def test_lanes_have_equal_parts_and_take_turns(count, lanes):
    lengths = np.diff(lane_starts(count, lanes), append=count)
    assert lengths.max() - lengths.min() <= 1
    places = deal(count, lanes, batch=lanes)
    assert np.array_equal(np.sort(places), np.arange(count))
    lane = np.searchsorted(lane_starts(count, lanes), places, side="right") - 1
    assert lane[:lanes].tolist() == list(range(lanes))
