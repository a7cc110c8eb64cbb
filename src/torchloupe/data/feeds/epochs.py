"""Samplers and datasets of the user's that want to know the epoch: those with `set_epoch`.

torch's loops call it by hand before each pass; a run calls it, so that a resumed one has the same
order. What is evaluated is not told: it is the same in every epoch.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset

from torchloupe.system.user_code import refuse_failure

_INSIDE = ("batch_sampler", "sampler", "dataset")  # of a loader, a sampler or a dataset
_DEPTH = 8


def tell_epoch(source: Any, epoch: int) -> None:
    """Call `set_epoch(epoch)` of a loader or dataset and of all that it is made of."""
    for each in _parts_of(source, set(), 0):
        try:
            each.set_epoch(epoch)
        except Exception as error:
            raise refuse_failure(error, f"set_epoch of {type(each).__name__}") from error


def parts_with(dataset: Any, rows: NDArray[np.int64]) -> tuple[int, ...] | None:
    """Which parts of a ConcatDataset hold some of `rows`; None for another dataset, which is one.

    The splits of a run are such parts: those of val and test are not told.
    """
    if not isinstance(dataset, ConcatDataset):
        return None
    found = np.searchsorted(dataset.cumulative_sizes, rows, side="right")
    return tuple(int(part) for part in np.unique(found))


def _parts_of(source: Any, seen: set[int], depth: int) -> Iterator[Any]:
    """`source` and what is inside it, as far as it has a `set_epoch`, each once."""
    if id(source) in seen or depth > _DEPTH:
        return
    seen.add(id(source))
    if callable(getattr(source, "set_epoch", None)):
        yield source
    inside = [getattr(source, name, None) for name in _INSIDE]
    if isinstance(source, ConcatDataset):
        inside += source.datasets
    for each in inside:
        if each is not None:
            yield from _parts_of(each, seen, depth + 1)
