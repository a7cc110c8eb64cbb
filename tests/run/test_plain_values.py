"""Values of a model's own as JSON and back."""

import json
import random
from collections import Counter, OrderedDict, defaultdict, deque

import numpy as np
import pytest
import torch
from torch import nn

from torchloupe.run.plain_values import NotPlain, decode, encode
from torchloupe.system.generators import give_state, state_of

CPU = torch.device("cpu")


class Held:
    def __init__(self, count: int) -> None:
        self.count, self.seen = count, [count]


def again(value, now=None):
    return decode(json.loads(json.dumps(encode(value))), now, CPU)


@pytest.mark.parametrize(
    "value",
    [3, True, None, "a", 0.1, (1, 2.5), [1, [2]], {1, 2}, deque([1, 2], 3), {"a": 1, 2: (3,)}],
)
def test_plain_values_come_back_as_they_were(value):
    assert again(value) == value
    assert type(again(value)) is type(value)


def test_floats_keep_every_bit_and_nan():
    assert again(0.1 + 0.2).hex() == (0.1 + 0.2).hex()
    assert np.isnan(again(float("nan")))


@pytest.mark.parametrize(
    "tensor",
    [torch.arange(6.0).reshape(2, 3), torch.tensor(True), torch.zeros(0), torch.ones(2).bfloat16()],
)
def test_tensors_come_back_with_type_and_shape(tensor):
    back = again(tensor)
    assert torch.equal(back, tensor)
    assert back.dtype == tensor.dtype


def test_arrays_and_numbers_of_numpy_come_back():
    assert np.array_equal(again(np.arange(4, dtype=np.int16)), np.arange(4, dtype=np.int16))
    assert again(np.float32(0.1)) == np.float32(0.1)
    assert type(again(np.float32(0.1))) is np.float32


@pytest.mark.parametrize(
    "make",
    [
        lambda: random.Random(3),
        lambda: np.random.default_rng(3),
        lambda: np.random.RandomState(3),
        lambda: torch.Generator().manual_seed(3),
    ],
)
def test_a_generator_goes_on_from_where_it_was(make):
    one, other = make(), make()
    state = again(state_of(one))
    back = again(one)
    draw = {"Random": lambda g: g.random(), "Generator": lambda g: float(np_or_torch(g))}
    name = type(one).__name__
    first = draw.get(name, lambda g: g.rand())(one)
    give_state(other, state)
    assert draw.get(name, lambda g: g.rand())(back) == first
    assert draw.get(name, lambda g: g.rand())(other) == first


def np_or_torch(generator):
    if isinstance(generator, torch.Generator):
        return torch.rand((), generator=generator)
    return generator.random()


def test_what_stands_there_is_changed_in_place():
    rows, names, array, tensor = [1, 2], {"a": 1}, np.zeros(2), torch.zeros(2)
    held, generator = Held(1), np.random.default_rng(0)
    assert again([3, 4, 5], rows) is rows
    assert rows == [3, 4, 5]
    assert again({"b": 2}, names) is names
    assert names == {"b": 2}
    assert again(np.ones(2), array) is not array  # which may be a view of a weight
    assert array.sum() == 0
    assert again(torch.ones(2), tensor) is not tensor
    assert tensor.sum() == 0
    assert again(Held(7), held) is held
    assert (held.count, held.seen) == (7, [7])
    assert again(np.random.default_rng(5), generator) is generator
    assert generator.random() == np.random.default_rng(5).random()


def test_a_set_is_equal_whatever_order_it_has():
    assert encode({"a", "b", "c"}) == encode({"c", "b", "a"})
    kept = {1}
    assert again({2, 3}, kept) is kept
    assert kept == {2, 3}


@pytest.mark.parametrize(
    "value",
    [
        lambda: None,
        nn.Linear(2, 2),
        nn.Parameter(torch.zeros(2)),
        torch.zeros(2**21),
        list(range(20_001)),
        np.array([object()]),
        "tensor:model.weight",
        open,
        1j,
    ],
)
def test_other_things_are_not_plain(value):
    with pytest.raises(NotPlain) as caught:
        encode(value)
    assert not caught.value.is_left_over


def test_a_tensor_with_its_graph_is_left_over():
    with pytest.raises(NotPlain) as caught:
        encode({"seen": [nn.Linear(2, 2)(torch.ones(1, 2))]})
    assert caught.value.is_left_over


def test_an_object_that_is_not_there_is_not_made():
    with pytest.raises(NotPlain):
        again(Held(1), None)


def test_code_of_no_kind_is_refused():
    for code in ({"generator": "os", "state": 1}, {"what": 1}, {"tensor": "float32"}):
        with pytest.raises((NotPlain, LookupError, StopIteration, TypeError, ValueError)):
            decode(code, None, CPU)


@pytest.mark.parametrize(
    "make",
    [
        lambda *words: Counter(words),
        lambda *words: OrderedDict((word, 1) for word in words),
        lambda *words: defaultdict(int, dict.fromkeys(words, 2)),
        lambda *words: Rows(words),
    ],
)
def test_relatives_of_containers_get_their_content_back(make):
    kept, wanted = make("a"), make("b", "c")
    assert encode(kept) != encode(wanted)
    assert again(wanted, kept) is kept
    assert kept == wanted
    with pytest.raises(NotPlain):
        decode(encode(wanted), None, torch.device("cpu"))


class Rows(list):
    """A list of another type."""
