"""Whether a dataset gives the same image twice where all random numbers are the same.

What draws numbers that can't be seeded makes two equal runs differ: that is a note.
"""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from torchloupe.data.sources.pairs import read_item, take_pair, to_pixels
from torchloupe.errors import DataError, printable
from torchloupe.system.generators import OwnGenerators, find_generators
from torchloupe.system.seeding import rng_preserved, seed_all

_ROWS = 4
_SECONDS = 1.0  # after which no other row is read


def note_unrepeatable_rows(dataset: Any, where: str) -> tuple[str, ...]:
    """A note if a row read twice with equal seeds differs; up to four rows are read."""
    own = find_generators(dataset)
    count = len(dataset)
    began = time.perf_counter()
    with rng_preserved(own):
        for row in sorted({count * k // _ROWS for k in range(_ROWS)}):
            images = []
            try:
                for _ in range(2):
                    seed_all(row, own)
                    images.append(to_pixels(read_item(dataset, row)[0]))
            except DataError:  # reading it for its own sake says so
                return ()
            if not _are_equal(*images):
                return (_note(f"{where}: row {row}", dataset, own),)
            if time.perf_counter() - began > _SECONDS:
                break
    return ()


def note_unrepeatable_stream(loader: Any, where: str) -> tuple[str, ...]:
    """A note if the first batch of a stream, read twice with equal seeds, differs.

    A DataLoader with workers is read only if another library may draw numbers in it.
    """
    own = find_generators(loader)
    if isinstance(loader, DataLoader) and loader.num_workers and not own.libraries:
        return ()
    firsts = []
    with rng_preserved(own):
        for _ in range(2):
            seed_all(0, own)
            try:
                pair = take_pair(next(iter(loader)))
                firsts.append(None if pair is None else _as_array(pair[0]))
            except Exception:  # empty or broken: reading it for its own sake says so
                return ()
    first, second = firsts
    if first is None or second is None or _are_equal(first, second):
        return ()
    return (_note(where or "the stream", getattr(loader, "dataset", loader), own),)


def _as_array(images: Any) -> NDArray[Any]:
    if isinstance(images, (list, tuple)):
        return np.concatenate([to_pixels(image).ravel() for image in images])
    return np.asarray(images.detach().cpu() if hasattr(images, "detach") else images)


def _are_equal(first: NDArray[Any], second: NDArray[Any]) -> bool:
    return first.shape == second.shape and np.array_equal(
        first, second, equal_nan=first.dtype.kind == "f"
    )


def _note(what: str, dataset: Any, own: OwnGenerators) -> str:
    by = ", ".join(printable(name) for name in own.libraries) or type(dataset).__name__
    return (
        f"{what} differs when it is read twice with equal seeds: {by} draws random numbers that "
        "are not seeded, so two equal runs give different weights"
    )
