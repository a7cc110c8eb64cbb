"""Whether the workers of an IterableDataset divide it, or each of them gives everything.

A DataLoader reads an IterableDataset once in every worker. Unless the dataset asks
`torch.utils.data.get_worker_info()` which part is this worker's, every sample comes once per
worker, and the shuffled order hides it.
"""

import pickle
import random
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from torchloupe.data.sources.pairs import take_pair
from torchloupe.errors import DataError
from torchloupe.system.seeding import rng_preserved

_COMPARED = 16  # samples from each of two workers
_PATIENCE_SECONDS = 20.0
_HINT = (
    "in __iter__ give each worker its part: info = torch.utils.data.get_worker_info(), and then "
    "every info.num_workers-th sample from info.id on; or use num_workers=1"
)


def check_workers(loader: Any, where: str = "") -> tuple[str, ...]:
    """Refuse a DataLoader whose workers each give the same samples; else a note if unsure.

    The first samples of two workers are compared, both with equal random numbers, so that
    augmentation doesn't hide that they are the same. A stream that draws its samples at random
    can't be told apart from one that shuffles and doesn't divide: that is a note.
    """
    if not _has_parts(loader):
        return ()
    first = _read_two(loader, seed=1)
    if first is None or first[0] != first[1] or len(set(first[0])) < 2:
        return ()
    what = f"the {where} stream" if where else "the stream"
    again = _read_two(loader, seed=2)
    labels = _labels(first[0])
    is_fixed = again is not None and again[0] == first[0]
    if again is not None and not is_fixed and len(set(labels)) > 1:
        is_fixed = _labels(again[0]) == labels
    if not is_fixed:
        return (
            f"the {loader.num_workers} workers of {what} give the same samples where they draw the "
            "same random numbers; unless it picks samples at random without end, divide them by "
            "torch.utils.data.get_worker_info()",
        )
    raise DataError(
        f"each of the {loader.num_workers} workers of {what} gives all samples: an epoch has "
        f"every sample {loader.num_workers} times",
        _HINT,
    )


def refuse_surplus(loader: Any, given: int) -> None:
    """DataError if workers have given more samples in a pass than the dataset says it has."""
    if not _has_parts(loader):
        return
    try:
        length = len(loader.dataset)
    except (TypeError, NotImplementedError):
        return
    if given > length:
        raise DataError(
            f"the stream says it has {length:,} samples, and its {loader.num_workers} workers gave "
            "more in one pass: each seems to give all of them",
            _HINT,
        )


def _has_parts(loader: Any) -> bool:
    return (
        isinstance(loader, DataLoader)
        and isinstance(loader.dataset, IterableDataset)
        and loader.num_workers > 1
    )


def _read_two(loader: DataLoader[Any], seed: int) -> tuple[list[bytes], list[bytes]] | None:
    """The first samples of two workers that draw equal random numbers; None if it fails."""
    with rng_preserved(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on the number of cores
        try:
            probe: DataLoader[Any] = DataLoader(
                loader.dataset,
                batch_size=_COMPARED,
                num_workers=2,
                collate_fn=_as_bytes,
                timeout=_PATIENCE_SECONDS,
                worker_init_fn=_Start(loader.worker_init_fn, seed),
                multiprocessing_context=loader.multiprocessing_context,
                generator=torch.Generator(),
            )
            batches = iter(probe)
            return next(batches, []), next(batches, [])
        except Exception:  # what is wrong with it is said when it is read for its own sake
            return None


def _labels(samples: Sequence[bytes]) -> list[str]:
    return [repr(pickle.loads(sample)[1]) for sample in samples]


def _as_bytes(items: Sequence[Any]) -> list[bytes]:
    """Each sample as bytes that can be compared, whatever it is made of."""
    found = []
    for item in items:
        image, label = take_pair(item) or (item, None)
        pixels = np.asarray(image.detach() if hasattr(image, "detach") else image)
        found.append(pickle.dumps((pixels.tobytes(), np.asarray(label).tolist())))
    return found


class _Start:
    """What each worker runs first: the user's own function, then equal seeds for all."""

    def __init__(self, own: Callable[[int], Any] | None, seed: int) -> None:
        self.own = own
        self.seed = seed

    def __call__(self, worker: int) -> None:
        if self.own is not None:
            self.own(worker)
        torch.manual_seed(self.seed)
        random.seed(self.seed)
        np.random.seed(self.seed)
