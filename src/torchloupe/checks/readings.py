"""Some samples of a run, read for its checks: as the model gets them, in little time.

Generators are put back to where they were, and no worker process is started.
"""

import re
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torchloupe.data.contract import Contract
from torchloupe.data.feeds.items import stack_images, to_device
from torchloupe.data.sources.pairs import read_item
from torchloupe.errors import LoupeError
from torchloupe.system.counter_rng import hash_parts
from torchloupe.system.generators import find_generators
from torchloupe.system.seeding import rng_preserved, seed_all

Rows = NDArray[np.int64]
NO_IMAGES = np.zeros((0, 1, 1, 1), dtype=np.float32)
_RANDOM = re.compile(r"Random|Jitter|AutoAugment|AugMix|Erasing|GaussianNoise")
_DRAWING = {"default_rng", "RandomState", "Generator", "manual_seed", "Random"}


def spread_rows(rows: Rows, most: int) -> Rows:
    """Up to `most` of `rows`, spread evenly over them."""
    count = min(most, len(rows))
    return rows[np.arange(count) * len(rows) // max(count, 1)]


def read_items(
    dataset: Any, contract: Contract, rows: Rows, seed: int, seconds: float
) -> NDArray[np.float32]:
    """Images [M, C, H, W] of a user's Dataset, one item after the other, M of `rows` in `seconds`.

    Random transforms draw from generators that are seeded by `seed` and row. No images where one
    can't be read: training says so.
    """
    own = find_generators(dataset)
    found = []
    began = time.perf_counter()
    try:
        with rng_preserved(own):
            for row in rows.tolist():
                key = np.array([row], dtype=np.uint64)
                seed_all(int(hash_parts(seed, 0xC4EC, key)[0]), own)
                found.append(read_item(dataset, row)[0])
                if time.perf_counter() - began > seconds:
                    break
        names = [f"row {row}" for row in rows.tolist()]
        images = stack_images(found, contract, names[: len(found)])
        made: NDArray[np.float32] = to_device(images, contract, torch.device("cpu")).numpy()
    except (LoupeError, ValueError):
        return NO_IMAGES
    return made


def names_randomness(dataset: Any) -> bool:
    """Whether a dataset's code or transforms are named as if they drew random numbers."""
    seen = [dataset]
    while (inner := getattr(seen[-1], "dataset", None)) is not None and len(seen) < 5:
        seen.append(inner)
    for each in seen:
        if any(
            _RANDOM.search(repr(value)[:5000]) for value in getattr(each, "__dict__", {}).values()
        ):
            return True
        for name in ("__getitem__", "__getitems__"):
            code = getattr(getattr(type(each), name, None), "__code__", None)
            if code is not None and _DRAWING & set(code.co_names):
                return True
    return False
