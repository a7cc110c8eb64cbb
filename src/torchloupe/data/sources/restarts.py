"""Iterators that start anew when they are asked to: loaders whose `__iter__` returns themselves.

Prefetchers and DALI's loaders are such. A plain iterator, such as a generator, looks alike and can
be read only once: which one it is shows when it is read twice.
"""

from collections.abc import Iterator
from types import FunctionType
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset

from torchloupe.data.sources.pairs import take_pair
from torchloupe.data.sources.stream_labels import length_of
from torchloupe.errors import DataError, UsageError, printable
from torchloupe.system.generators import find_generators
from torchloupe.system.seeding import rng_preserved, seed_all

_MOST_UNSAID = 100_000  # items, of a loader that doesn't say its length


class Restarting:
    """A loader that is its own iterator; each pass over it begins at its first item."""

    def __init__(self, loader: Any, *, must_end: bool) -> None:
        self.loader = loader
        self.must_end = must_end  # it starts anew only after it came to its end
        self.is_open = False

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "loader":
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[Any]:
        if self.must_end and self.is_open:
            for _ in iter(self.loader):
                pass
        self.is_open = True
        for item in iter(self.loader):  # noqa: UP028  # `yield from` would call its `close`
            yield item
        self.is_open = False


def as_restarting(value: Any, where: str = "") -> Any:
    """`value`, or an iterator among these as one that can be read pass after pass.

    UsageError for an iterator that gives nothing the second time.
    """
    if not hasattr(value, "__next__") or isinstance(value, Restarting):
        return value
    what = f"{where}: " if where else ""
    kind = printable(type(value).__name__)
    if not _has_own_iter(value):
        raise UsageError(
            f"{what}an iterator ({kind}) can be read only once",
            "give an IterableDataset, whose __iter__ starts anew each epoch, or the loader itself",
        )
    own = find_generators(value)
    with rng_preserved(own):
        if _starts_anew(value, own):
            return Restarting(value, must_end=False)
        length = length_of(value)
        most = _MOST_UNSAID if length is None else 2 * length + 1
        if any(place >= most for place, _ in enumerate(iter(value))) or not _first(value):
            raise UsageError(
                f"{what}{kind} is its own iterator, and gives nothing after its end: it can be "
                "read only once",
                "start anew in its __iter__, before `return self`, as by self.reset()",
            )
    loader = Restarting(value, must_end=True)
    loader.is_open = True  # one item was read
    return loader


def refuse_same_iterator(loader: Any, where: str = "") -> None:
    """DataError for an IterableDataset whose `__iter__` gives one iterator, whose end is the end.

    One that returns itself may start anew, and is left.
    """
    dataset = getattr(loader, "dataset", loader)
    if not isinstance(dataset, IterableDataset):
        return
    try:
        first: Any = iter(dataset)
        second: Any = iter(dataset)
    except Exception:  # reading it for its own sake says so
        return
    if first is second and first is not dataset:
        raise DataError(
            (f"{where}: " if where else "")
            + f"__iter__ of {printable(type(dataset).__name__)} returns the same iterator each "
            "time, which can be read only once",
            "make it there: `return iter(self.samples)`, or `yield` the samples",
        )


def _has_own_iter(value: Any) -> bool:
    """Whether `__iter__` is code of the user's; those of Python and torch return the iterator."""
    code = getattr(type(value), "__iter__", None)
    return isinstance(code, FunctionType) and not code.__module__.startswith("torch.utils.data")


def _starts_anew(value: Any, own: Any) -> bool:
    """Whether the first item comes again after the first was read."""
    firsts = []
    for _ in range(2):
        seed_all(0, own)
        firsts.append(_first(value))
    if not all(firsts):
        return False
    pairs = [take_pair(first[0]) for first in firsts]
    images: list[Any] = [None if pair is None else pair[0] for pair in pairs]
    try:
        arrays = [np.asarray(i.detach().cpu() if hasattr(i, "detach") else i) for i in images]
        return arrays[0].dtype.kind in "biuf" and np.array_equal(arrays[0], arrays[1])
    except (ValueError, TypeError, RuntimeError):
        return False


def _first(value: Any) -> tuple[Any, ...]:
    """(the first item of a pass,); empty where there is none."""
    for item in iter(value):
        return (item,)
    return ()
