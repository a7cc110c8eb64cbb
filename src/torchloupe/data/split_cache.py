"""Cached results of images and labels: split, fingerprint, mean and standard deviation.

For a large set they are stored beside the pixels of its pack, or where what is known of shards is,
under a hash of their inputs: computing them takes seconds.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.pack.pixels import Pixels, statistics
from torchloupe.data.pack.streamed import StreamedPixels, statistics_of_some
from torchloupe.data.sources.source import Data, make_stamp
from torchloupe.data.split import SPLIT_NAMES, Splits, split_samples
from torchloupe.system import cache
from torchloupe.system.cache import Kept, remember

FORMAT = 2  # raised when the same images and labels would give anything else

Rows = NDArray[np.int64]


def divide(
    data: Data,
    pixels: Pixels | None,
    sound: Rows,
    *,
    fractions: tuple[float, float],
    seed: int,
    fold: tuple[int, int] | None,
    copies: str = "keep",
) -> tuple[Splits, str]:
    """The split of the images at `sound` as rows of all, and the fingerprint of all.

    `fractions` are those of val and test; for the rest see `split_samples`.
    """
    samples = data.samples
    content = data.content if pixels is None else pixels.content

    def make() -> Kept:
        splits = split_samples(
            samples.take(sound),
            given=None if data.given is None else data.given[sound],
            content=None if content is None else content[sound],
            val_fraction=fractions[0],
            test_fraction=fractions[1],
            seed=seed,
            fold=fold,
            copies=copies,
        )
        parts = np.full(len(samples), -1, dtype=np.int8)
        for number, name in enumerate(SPLIT_NAMES):
            parts[sound[getattr(splits, name)]] = number
        facts = {"notes": splits.notes, "fingerprint": samples.fingerprint(content)}
        return Kept(facts, {"parts": parts})

    arrays = (samples.keys, samples.labels, samples.groups, data.given, content, sound)
    options = (*samples.class_names, *fractions, seed, *(fold or ()), copies)
    kept = _recall(pixels, "split.kept", (*arrays, *options), make)
    train, val, test = (np.flatnonzero(kept.arrays["parts"] == k) for k in range(3))
    return Splits(train, val, test, tuple(kept.facts["notes"])), kept.facts["fingerprint"]


def find_statistics(pixels: Pixels, rows: Rows) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """`statistics` of the images at `rows`; of some of them where each has to be read anew."""
    if isinstance(pixels, StreamedPixels):
        return statistics_of_some(pixels, rows)

    def make() -> Kept:
        mean, std = statistics(pixels, rows)
        return Kept({"mean": mean, "std": std})

    contract = pixels.contract
    facts = (pixels.content, rows, contract.value_low, contract.value_high)
    kept = _recall(pixels, "statistics.kept", facts, make)
    return tuple(kept.facts["mean"]), tuple(kept.facts["std"])


def _recall(
    pixels: Pixels | None, name: str, facts: Sequence[Any], make: Callable[[], Kept]
) -> Kept:
    """What follows from `facts`: kept for large sets, beside their pack or as shards' facts are."""
    path, key, place = None, "", cache.find_cache()
    if pixels is not None and pixels.pack is not None and len(pixels) >= cache.LARGE:
        path, key = pixels.pack.folder / name, make_stamp(FORMAT, *facts)
    if isinstance(pixels, StreamedPixels) and len(pixels) >= cache.LARGE and place is not None:
        key = make_stamp(FORMAT, *facts)
        path = place / "shards" / "indexes" / f"{key[:16]}-{name}"
        with suppress(OSError):  # then it can't be kept, and is made each time
            path.parent.mkdir(parents=True, exist_ok=True)
    return remember(path, key, make)
