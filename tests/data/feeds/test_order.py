"""The order: every sample once an epoch, any step in O(1), the same from anywhere."""

from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import pytest

from torchloupe.data.feeds.order import Order
from torchloupe.errors import DataError, UsageError
from torchloupe.system.counter_rng import make_keys


def make_order(count=10, batch_total=4, seed=0, step=3):
    rows = np.arange(0, count * step, step)
    return Order(rows, make_keys(str(k) for k in range(count * step)), batch_total, seed)


def test_order_visits_every_row_once_an_epoch_and_keeps_the_small_last_batch():
    order = make_order()
    assert order.steps_per_epoch == 3
    for epoch in range(3):
        batches = [order.batch(epoch * 3 + k) for k in range(3)]
        assert [len(batch) for batch in batches] == [4, 4, 2]
        assert sorted(np.concatenate(batches)) == order.rows.tolist()


def test_order_gives_the_same_batch_however_it_is_reached():
    order = make_order(count=23, batch_total=5)
    walked = [rows.tolist() for _, rows in islice(order.batches(), 40)]
    assert [order.batch(step).tolist() for step in reversed(range(40))] == walked[::-1]
    assert [rows.tolist() for _, rows in islice(make_order(23, 5).batches(17), 23)] == walked[17:]


def test_order_names_the_epoch_of_each_step():
    order = make_order()
    assert [epoch for epoch, _ in islice(order.batches(1), 6)] == [0, 0, 1, 1, 1, 2]


def test_order_changes_with_epoch_and_seed_only():
    order = make_order(count=50, batch_total=50)
    assert order.batch(0).tolist() != order.batch(1).tolist()
    assert order.batch(0).tolist() != make_order(50, 50, seed=1).batch(0).tolist()
    assert order.batch(0).tolist() == make_order(50, 7).epoch_rows(0).tolist()


def test_order_golden_rows():
    assert make_order().batch(0).tolist() == [12, 18, 9, 21]
    assert make_order().batch(4).tolist() == [21, 6, 9, 24]


def test_order_follows_the_samples_and_not_their_place_in_the_list():
    keys = make_keys(f"image {k}" for k in range(30))
    turned = np.arange(30)[::-1].copy()
    plain = Order(np.arange(30), keys, 30, 0).batch(0)
    other = Order(np.arange(30), keys[turned], 30, 0).batch(0)
    assert keys[plain].tolist() == keys[turned][other].tolist()


def test_order_is_the_same_from_many_threads():
    order = make_order(count=40, batch_total=3)
    steps = list(range(100)) * 3
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda step: order.batch(step).tolist(), steps))
    assert found == [make_order(40, 3).batch(step).tolist() for step in steps]


def test_order_takes_a_batch_larger_than_the_data():
    order = make_order(count=3, batch_total=100)
    assert order.steps_per_epoch == 1
    assert sorted(order.batch(7)) == [0, 3, 6]


def test_order_refuses_what_gives_no_batch():
    keys = make_keys(["a"])
    with pytest.raises(DataError, match="no sample to put in order"):
        Order(np.zeros(0, dtype=np.int64), keys, 1, 0)
    with pytest.raises(UsageError, match="batch_total is 0"):
        Order(np.zeros(1, dtype=np.int64), keys, 0, 0)
    with pytest.raises(UsageError, match="step -1 is before the first"):
        Order(np.zeros(1, dtype=np.int64), keys, 1, 0).batch(-1)


def test_order_leaves_out_a_smaller_last_batch_where_asked():
    keys = make_keys(np.array([str(k) for k in range(10)], dtype=np.dtypes.StringDType()))
    order = Order(np.arange(10), keys, 4, seed=1, drops_last=True)
    assert order.steps_per_epoch == 2
    assert [len(order.batch(step)) for step in range(5)] == [4] * 5
    whole = Order(np.arange(10), keys, 4, seed=1)
    assert order.batch(2).tolist() == whole.batch(3).tolist()
    with pytest.raises(UsageError) as caught:
        Order(np.arange(3), keys, 4, seed=1, drops_last=True)
    assert caught.value.message == (
        "drop_last leaves no batch: there are 3 training images and batches of 4"
    )
    assert caught.value.hint == "use smaller batches, or drop_last=False"
