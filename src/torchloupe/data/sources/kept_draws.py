"""Datasets that keep what they drew at random: a run that is resumed draws it anew."""

from itertools import islice
from typing import Any

import numpy as np
from torch.utils.data import Subset

from torchloupe.data.sources.pairs import read_item, to_pixels
from torchloupe.errors import DataError, printable
from torchloupe.system.generators import NO_GENERATORS, find_generators
from torchloupe.system.seeding import rng_preserved, seed_all


def note_kept_draws(dataset: Any, where: str) -> tuple[str, ...]:
    """A note if a dict of the dataset keeps a row by its number with the random numbers in it.

    The first row is read with other random numbers: the same image with the row in the dict, and
    another one without it, show it. The dict is left as it was.
    """
    row = 0
    while isinstance(dataset, Subset) and len(dataset.indices):
        dataset, row = dataset.dataset, int(dataset.indices[row])
    held = {name: value for name, value in _attributes(dataset).items() if _may_keep_rows(value)}
    own = find_generators(dataset) if held else NO_GENERATORS
    for name, kept in held.items():
        with rng_preserved(own):
            if _keeps_draws(dataset, row, kept, own):
                return (
                    f"{where}: `{printable(name)}` of {printable(type(dataset).__name__)} keeps "
                    "rows with the random numbers that were drawn for them, and no checkpoint "
                    "holds it: a resumed run differs from one that was not stopped",
                )
    return ()


def _may_keep_rows(value: Any) -> bool:
    """Whether this is a dict that is empty or has numbers as keys."""
    return type(value) is dict and all(isinstance(key, int) for key in islice(value, 3))


def _attributes(dataset: Any) -> dict[str, Any]:
    return vars(dataset) if hasattr(dataset, "__dict__") else {}


def _keeps_draws(dataset: Any, row: int, kept: dict[Any, Any], own: Any) -> bool:
    """Whether `row`, once it is in `kept`, stays the image that was drawn for it first."""
    before = dict(kept)
    images = []
    try:
        for seed, is_anew in ((1, True), (2, False), (2, True)):
            if is_anew:
                kept.pop(row, None)
            seed_all(seed, own)
            images.append(to_pixels(read_item(dataset, row)[0]))
            if row not in kept:
                return False
    except DataError:  # no store of rows, but something that the dataset needs
        return False
    finally:
        kept.clear()
        kept.update(before)
    first, again, anew = images
    return np.array_equal(first, again) and not np.array_equal(first, anew)
