"""Generators that objects keep for themselves: found wherever they are held, and seeded."""

import functools
import random

import numpy as np
import pytest
import torch

from torchloupe.system.generators import NO_GENERATORS, find_generators
from torchloupe.system.seeding import rng_preserved, seed_all

KINDS = {
    "numpy": (np.random.default_rng, lambda g: g.random()),
    "mt19937": (lambda: np.random.Generator(np.random.MT19937()), lambda g: g.random()),
    "legacy": (np.random.RandomState, lambda g: g.rand()),
    "python": (random.Random, lambda g: g.random()),
    "torch": (torch.Generator, lambda g: torch.rand((), generator=g).item()),
}
GLOBAL = np.random.default_rng()


class Holder:
    """Holds one thing."""

    def __init__(self, held):
        self.held = held

    def draw(self):
        return self.held.random()


class OfClass:
    """Holds it for all objects."""

    generator = random.Random()


def uses_a_global():
    return GLOBAL.random()


def close_over(held):
    def inner():
        return held

    return inner


@pytest.mark.parametrize("kind", KINDS)
def test_generators_of_every_kind_are_seeded_and_put_back(kind):
    make, draw = KINDS[kind]
    holder = Holder([make(), {"b": make()}])
    own = find_generators(holder)
    assert len(own.generators) == 2
    numbers = []
    for seed in (1, 1, 2):
        own.seed(seed)
        numbers.append([draw(generator) for generator in own.generators])
    assert numbers[0] == numbers[1] != numbers[2]
    assert numbers[0][0] != numbers[0][1]
    with rng_preserved(own):
        seed_all(5, own)
        first = draw(own.generators[0])
    second = draw(own.generators[0])
    own.seed(2)
    draw(own.generators[0])
    assert draw(own.generators[0]) == second != first


@pytest.mark.parametrize(
    "hide",
    [
        Holder,
        lambda g: [g],
        lambda g: {"a": (g,)},
        lambda g: Holder(Holder(g)),
        lambda g: functools.partial(print, g),
        lambda g: functools.partial(print, end=g),
        close_over,
        lambda g: Holder(g).draw,
    ],
)
def test_generators_are_found_wherever_they_are(hide):
    generator = np.random.default_rng()
    assert find_generators(hide(generator)).generators[0] is generator


def test_generators_of_classes_and_globals_of_own_code_are_found():
    assert find_generators(OfClass()).generators == (OfClass.generator,)
    assert find_generators(Holder(uses_a_global)).generators == (GLOBAL,)


def test_generators_that_are_global_are_left_to_the_usual_seeding():
    held = [torch.default_generator, random.random, np.random.rand, random.SystemRandom()]
    assert find_generators(Holder(held)).generators == ()
    assert not NO_GENERATORS


def test_generators_search_ends_in_circles_and_long_lists():
    circle = Holder(None)
    circle.held = [circle, list(range(10**6))]
    assert find_generators(circle).generators == ()


def test_libraries_are_named():
    table = pytest.importorskip("sklearn.preprocessing").StandardScaler()
    assert find_generators(Holder([table, torch.zeros(1), Holder(1)])).libraries == ("sklearn",)
