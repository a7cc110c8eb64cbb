"""The generators that other people's code draws from: seeded for a purpose, and put back."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import get_worker_info


def seed_all(seed: int) -> None:
    """Seed the three generators that transforms draw from."""
    torch.default_generator.manual_seed(seed >> 1)
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)


@contextmanager
def rng_preserved() -> Iterator[None]:
    """The generators of this process as they were, afterwards; in a worker nobody else asks."""
    if get_worker_info() is not None:
        yield
        return
    kept = torch.default_generator.get_state(), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        torch.default_generator.set_state(kept[0])
        random.setstate(kept[1])
        np.random.set_state(kept[2])
