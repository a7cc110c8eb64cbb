"""Keys: golden values that no later version may change, and what makes them good randomness."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchloupe.system import counter_rng


def test_keys_have_golden_values():
    assert counter_rng.make_key("cat/001.jpg") == GOLDEN["key"]
    assert int(counter_rng.hash_parts(1, 2, 3)) == GOLDEN["mix"]
    some = counter_rng.make_keys(["a", "b", "c", "d", "e"])
    assert counter_rng.uniform(7, 3, some, 2).tolist() == GOLDEN["uniform"]
    assert counter_rng.permutation(7, 3, some).tolist() == GOLDEN["permutation"]
    assert counter_rng.torch_seed(5, 100) == GOLDEN["torch_seed"]


GOLDEN = {
    "key": 10344379826591169436,
    "mix": 15020427595393229491,
    "uniform": [
        0.8117389591920823,
        0.7990786830745997,
        0.8910063413922812,
        0.15160110690802875,
        0.8853526540821731,
    ],
    "permutation": [2, 1, 0, 3, 4],
    "torch_seed": 6483911877007916861,
}


def test_uniform_is_uniform_and_independent_between_draws():
    some = counter_rng.make_keys(map(str, range(20_000)))
    first, second = counter_rng.uniform(0, 0, some, 0), counter_rng.uniform(0, 0, some, 1)
    counts = np.histogram(first, bins=20, range=(0, 1))[0]
    assert abs(counts - 1000).max() < 5 * np.sqrt(1000)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert 0 <= first.min() <= first.max() < 1


def test_uniform_of_a_sample_does_not_depend_on_the_others():
    some = counter_rng.make_keys(map(str, range(100)))
    whole = counter_rng.uniform(1, 4, some, 0)
    assert np.array_equal(counter_rng.uniform(1, 4, some[30:40], 0), whole[30:40])


@pytest.mark.parametrize("changed", [(1, 0), (0, 1)])
def test_permutation_changes_with_seed_and_epoch(changed):
    some = counter_rng.make_keys(map(str, range(1000)))
    order = counter_rng.permutation(0, 0, some)
    assert sorted(order) == list(range(1000))
    assert (counter_rng.permutation(*changed, some) == order).mean() < 0.02


def test_permutation_visits_the_same_samples_whatever_order_they_are_listed_in():
    some = counter_rng.make_keys(map(str, range(500)))
    shuffled = np.random.default_rng(0).permutation(500)
    visited = some[counter_rng.permutation(3, 1, some)]
    assert np.array_equal(some[shuffled][counter_rng.permutation(3, 1, some[shuffled])], visited)


def test_make_key_takes_names_that_are_not_utf8():
    assert counter_rng.make_key("\udcff.jpg") == counter_rng.make_key(b"\xff.jpg")


@given(st.integers(0, 2**64 - 1), st.integers(0, 10**7), st.integers(0, 8))
def test_torch_seed_is_mix_of_plain_numbers(seed: int, step: int, rank: int) -> None:
    parts = (seed, 0x7042C4, step, rank) if rank else (seed, 0x7042C4, step)
    assert counter_rng.torch_seed(seed, step, rank) == int(counter_rng.hash_parts(*parts)) >> 1
