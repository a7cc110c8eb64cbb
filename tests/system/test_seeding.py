"""Three generators of other people's code: seeded together, and put back."""

import random

import numpy as np
import pytest
import torch

from torchloupe.system.seeding import rng_preserved, seed_all


def draw() -> tuple[float, float, float]:
    return float(torch.rand(())), random.random(), float(np.random.rand())


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1, 2**64 - 1])
def test_equal_seeds_draw_equal_numbers(seed: int) -> None:
    with rng_preserved():
        seed_all(seed)
        first = draw()
        seed_all(seed)
        assert draw() == first
        seed_all(seed ^ 4)
        assert not set(draw()) & set(first)


def test_generators_go_on_as_if_nothing_had_been_drawn() -> None:
    with rng_preserved():
        seed_all(3)
        wanted = [draw() for _ in range(2)]
        seed_all(3)
        first = draw()
        with pytest.raises(KeyError), rng_preserved():
            seed_all(99)
            draw()
            raise KeyError
        assert [first, draw()] == wanted
