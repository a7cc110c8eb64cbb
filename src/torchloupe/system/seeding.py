"""The generators that other people's code draws from: seeded for a purpose, and put back."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import get_worker_info

from torchloupe.system.generators import NO_GENERATORS, OwnGenerators


def seed_all(seed: int, own: OwnGenerators = NO_GENERATORS) -> None:
    """Seed the three global generators that transforms draw from, and those that are `own`."""
    torch.default_generator.manual_seed(seed >> 1)
    seed_shared(seed)
    own.seed(seed)


def seed_shared(seed: int) -> None:
    """Seed `random` and `numpy.random`."""
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)


@contextmanager
def rng_preserved(own: OwnGenerators = NO_GENERATORS) -> Iterator[None]:
    """Restore the generators of this process afterwards; a worker's are used for nothing else."""
    if get_worker_info() is not None:
        yield
        return
    kept = torch.default_generator.get_state(), random.getstate(), np.random.get_state()
    states = own.states()
    try:
        yield
    finally:
        torch.default_generator.set_state(kept[0])
        random.setstate(kept[1])
        np.random.set_state(kept[2])
        own.restore(states)
