"""What can only be read in sequence: IterableDatasets, and DataLoaders with ways of their own.

A DataLoader that does what torchloupe does anyway (shuffle a map-style dataset, collate by
default) is taken apart, so that its samples get ids, exact resuming and a split.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from torchloupe.data.samples import Samples, make_ids
from torchloupe.data.sources.datasets import known_labels, names_of
from torchloupe.data.sources.source import Data, name_some, short_name
from torchloupe.data.split import SPLIT_NAMES, TRAIN
from torchloupe.errors import DataError, UsageError, printable


class StreamReader:
    """Loaders by split name ("train", "val", "test"), given as they are."""

    def __init__(self, loaders: Mapping[str, Any]) -> None:
        self.loaders = dict(loaders)

    def read(self, row: int) -> bytes:
        """Refused: a stream has no rows."""
        raise DataError(f"a stream can't be read at row {row}", "iterate over its loaders instead")


def open_streams(parts: Mapping[int, Any], *, name: str, class_names: Sequence[str] = ()) -> Data:
    """Data of kind "stream": no ids, only class names and the loaders themselves."""
    notes: tuple[str, ...] = ()
    named = {part: names_of(getattr(loader, "dataset", loader)) for part, loader in parts.items()}
    known = {names for names in named.values() if names}
    if len(known) > 1:
        raise DataError(
            "the splits name their classes differently: "
            + "; ".join(f"{SPLIT_NAMES[part]} {name_some(n, 3)}" for part, n in named.items()),
            "give all splits the same classes in the same order",
        )
    names = tuple(class_names) or (known.pop() if known else ())
    if not names:
        names, notes = _count_classes(
            parts[TRAIN] if TRAIN in parts else next(iter(parts.values()))
        )
    empty = np.zeros(0, dtype=np.int64)
    return Data(
        name=short_name(name),
        kind="stream",
        samples=Samples(make_ids(range(0)), empty, names),
        given=None,
        reader=StreamReader({SPLIT_NAMES[part]: loader for part, loader in parts.items()}),
        notes=notes,
    )


def is_stream(source: Any) -> bool:
    """Whether an object gives samples in sequence only."""
    if isinstance(source, (IterableDataset, DataLoader)):
        return True
    return hasattr(source, "__iter__") and not hasattr(source, "__getitem__")


def take_apart(loader: DataLoader[Any], part: int) -> Any:
    """The dataset inside a DataLoader that adds nothing but a batch size, else None.

    For training that means shuffled, nothing dropped; labels must be known without reading.
    """
    samplers = (RandomSampler,) if part == TRAIN else (RandomSampler, SequentialSampler)
    sampler = loader.sampler
    if (
        isinstance(loader.dataset, IterableDataset)
        or type(loader) is not DataLoader
        or type(sampler) not in samplers
        or type(loader.batch_sampler) is not BatchSampler
        or loader.drop_last
        or loader.collate_fn is not default_collate
        or loader.worker_init_fn is not None
        or loader.generator is not None
        or not hasattr(loader.dataset, "__len__")
    ):
        return None
    if isinstance(sampler, RandomSampler) and (
        sampler.replacement or sampler.num_samples != len(loader.dataset)
    ):
        return None
    return None if known_labels(loader.dataset) is None else loader.dataset


def _count_classes(loader: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class numbers as names, found from known labels or by reading the stream once."""
    dataset = getattr(loader, "dataset", loader)
    labels = None if isinstance(dataset, IterableDataset) else known_labels(dataset)
    if labels is not None and len(labels):
        count = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
        return tuple(str(number) for number in range(count)), ()
    if not hasattr(loader, "__len__") or not _has_length(loader):
        raise UsageError(
            "the stream doesn't say how many classes it has",
            "give class_names=(...), or give the dataset a `classes` attribute",
        )
    highest = -1
    for item in loader:
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise DataError(
                f"the stream gives a {printable(type(item).__name__)}; wanted (image, label)",
                "let it give pairs of image and label",
            )
        found = np.asarray(item[1])
        if found.dtype.kind not in "biu":
            raise UsageError(
                f"the stream's labels are of type {found.dtype}, not class numbers",
                "give class_names=(...), or give the dataset a `classes` attribute",
            )
        highest = max(highest, int(found.max(initial=-1)))
    if highest < 0:
        raise DataError("the stream gives no samples", "give one that can be read again and again")
    note = "the stream was read once to count its classes; class_names=(...) saves that"
    return tuple(str(number) for number in range(highest + 1)), (note,)


def _has_length(loader: Any) -> bool:
    try:
        return len(loader) >= 0
    except TypeError:
        return False
