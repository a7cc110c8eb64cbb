"""Chance as a function: random numbers of (seed, epoch, sample, draw), with no generator state.

Every number is a hash of what it is for, so it doesn't matter who asks, in which order or
how often: any number of loader threads, a resumed run and another rank get the same numbers.
The hash is SplitMix64's finaliser (Steele, Lea, Flood 2014, "Fast splittable pseudorandom
number generators", variant 13 of Stafford), chained over the parts. Golden values are pinned
by tests/system/test_counter_rng.py: changing them changes every run ever made.
"""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

_TEXTS_AT_ONCE = 65_536  # whose digests are in memory as objects
_BLOCK = 512  # steps whose seeds are made at once
_GAMMA, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def make_key(text: str | bytes) -> int:
    """64 bits that stand for `text` (BLAKE2b), the same on every machine."""
    return int.from_bytes(_digest(text), "little")


def make_keys(texts: Iterable[str]) -> Keys:
    """`make_key` of each text, as an array [N]."""
    left, found = iter(texts), [np.zeros(0, dtype=np.uint64)]
    while some := [_digest(str(text)) for text in islice(left, _TEXTS_AT_ONCE)]:
        found.append(np.frombuffer(b"".join(some), dtype="<u8").astype(np.uint64))
    return np.concatenate(found)


def _digest(text: str | bytes) -> bytes:
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return hashlib.blake2b(data, digest_size=8).digest()


def hash_parts(*parts: int | Keys) -> Keys:
    """One well-mixed 64-bit hash of all parts in order; arrays are broadcast."""
    state = np.zeros((), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            word = part if isinstance(part, np.ndarray) else np.uint64(part & 0xFFFFFFFFFFFFFFFF)
            state = (state ^ word) + np.uint64(_GAMMA)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(_MIX_1)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(_MIX_2)
            state = state ^ (state >> np.uint64(31))
    return np.asarray(state, dtype=np.uint64)


def uniform(seed: int, epoch: int, keys: Keys, draw: int) -> NDArray[np.float64]:
    """A number in [0, 1) for each sample key [N]; `draw` tells apart the uses of one sample."""
    return (hash_parts(seed, epoch, draw, keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(seed: int, epoch: int, keys: Keys) -> NDArray[np.int64]:
    """The order [N] in which an epoch visits the samples, whatever order they are listed in.

    Each sample is ranked by a hash of (seed, epoch, its key), so a sample added to the set
    moves no other one. Equal keys keep the order of the list.
    """
    return np.argsort(hash_parts(seed, epoch, keys), kind="stable").astype(np.int64, copy=False)


def torch_seed(seed: int, step: int, rank: int = 0) -> int:
    """What torch's generators are seeded with before a step, so that dropout is a function too."""
    return _torch_seeds(seed, step // _BLOCK, rank)[step % _BLOCK]


@lru_cache(maxsize=4)
def _torch_seeds(seed: int, block: int, rank: int) -> list[int]:
    """Those of many steps in a row, in a hundredth of the time that each by itself would take."""
    steps = np.arange(block * _BLOCK, (block + 1) * _BLOCK, dtype=np.uint64)
    parts = (seed, 0x7042C4, steps, rank) if rank else (seed, 0x7042C4, steps)
    seeds: list[int] = (hash_parts(*parts) >> np.uint64(1)).tolist()
    return seeds
