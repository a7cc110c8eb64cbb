"""What a DataLoader of the user's asks for, and whether its dataset can be used without it.

A DataLoader that does what torchloupe does anyway (shuffle a map-style dataset, collate by
default) is taken apart, so that its samples get ids, exact resuming and a split.
"""

from collections.abc import Sized
from typing import Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    default_collate,
)

from torchloupe.data.sources.datasets import DatasetReader
from torchloupe.data.sources.pairs import is_batch, take_pair
from torchloupe.data.split import SPLIT_NAMES, TRAIN
from torchloupe.system.seeding import rng_preserved, seed_all
from torchloupe.units import plural


def is_stream(source: Any) -> bool:
    """Whether an object gives samples in sequence only."""
    if isinstance(source, (IterableDataset, DataLoader)):
        return True
    return hasattr(source, "__iter__") and not hasattr(source, "__getitem__")


def take_apart(loader: DataLoader[Any], part: int) -> DatasetReader | None:
    """The dataset inside a DataLoader, with its batch size and workers; None if it is kept."""
    if why_kept(loader, part):
        return None
    dataset, sampler = loader.dataset, loader.sampler
    ranks = 1
    if isinstance(sampler, SubsetRandomSampler):
        dataset = Subset(dataset, [int(row) for row in sampler.indices])
    elif isinstance(sampler, DistributedSampler):
        ranks = sampler.num_replicas
    return DatasetReader(
        dataset,
        batch_total=(loader.batch_size or 0) * ranks,
        workers=loader.num_workers,
        drops_last=loader.drop_last,
        start_worker=loader.worker_init_fn,
    )


def why_kept(loader: DataLoader[Any], part: int) -> str:
    """What a DataLoader does that only it can do; empty if it can be taken apart.

    For training it must shuffle, or its order is its own.
    """
    ways = {
        "an IterableDataset": isinstance(loader.dataset, IterableDataset),
        f"a class of its own ({type(loader).__name__})": type(loader) is not DataLoader,
        "batch_size=None": loader.batch_sampler is None,
        "its own batch_sampler": type(loader.batch_sampler) is not BatchSampler,
        "its own collate_fn": loader.collate_fn is not default_collate,
        "a dataset without __len__": not isinstance(loader.dataset, Sized),
    }
    own = next((way for way, is_so in ways.items() if is_so), "")
    return own or _why_ordered(loader.sampler, loader.dataset, part)


def _why_ordered(sampler: Any, dataset: Any, part: int) -> str:
    """What a sampler does that is not shuffling once through; for val and test it need not."""
    if type(sampler) is RandomSampler:
        is_whole = not sampler.replacement and sampler.num_samples == len(dataset)
        return "" if is_whole else "a RandomSampler with a number of samples of its own"
    if type(sampler) is SequentialSampler:
        return "shuffle=False" if part == TRAIN else ""
    is_known = type(sampler) in (SubsetRandomSampler, DistributedSampler)
    return "" if is_known else f"its own sampler ({type(sampler).__name__})"


def note_taken(loader: DataLoader[Any], reader: DatasetReader) -> str:
    """The note for a single DataLoader that was taken apart."""
    asked = [f"batch size {reader.batch_total}"]
    if reader.workers:
        asked.append(plural(reader.workers, "worker"))
    if reader.drops_last:
        asked.append("drop_last")
    kept = " and ".join([", ".join(asked[:-1]), asked[-1]] if asked[:-1] else asked)
    note = (
        f"the DataLoader keeps its {kept}; its dataset is split for validation and test like a "
        "Dataset given alone, and shuffled by train.seed"
    )
    has_generator = loader.generator is not None or getattr(loader.sampler, "generator", None)
    return note + (", not by its generator" if has_generator else "")


def note_kept(train: Any) -> str:
    """The note for training data that are read in sequence, with no other split given."""
    reason = why_kept(train, TRAIN) if isinstance(train, DataLoader) else ""
    is_kept = reason and not isinstance(train.dataset, IterableDataset)
    what = f"the DataLoader is used as it is, for {reason}" if is_kept else "the data are a stream"
    hint = "shuffle=True, or (train, val, test)" if reason == "shuffle=False" else ""
    return (
        f"{what}: nothing is split off for validation and test, and resuming reads it from the "
        f"start; give {hint or '(train, val, test)'} to have them"
    )


def note_other(loader: DataLoader[Any], part: int) -> tuple[str, ...]:
    """A note on the DataLoader of val or test whose drop_last is not followed."""
    if not loader.drop_last:
        return ()
    name = SPLIT_NAMES[part]
    return (f"drop_last of the {name} DataLoader is left out: every image of {name} is evaluated",)


def is_batched(loader: Any) -> bool:
    """Whether a stream gives whole batches; where nothing else says it, its first item does."""
    return find_batch(loader) > 0


def find_batch(loader: Any) -> int:
    """The size of the batches that a stream gives; 0 if it gives one sample at a time."""
    if isinstance(loader, DataLoader):
        size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None)
        if isinstance(size, int) and size > 0:
            return size
    with rng_preserved():
        seed_all(0)
        try:
            pair = take_pair(next(iter(loader)))
        except Exception:  # empty or broken: reading it for its own sake says so
            return 0
    if pair is None:
        return 0
    is_whole = isinstance(loader, DataLoader) and loader.batch_sampler is not None
    return len(pair[0]) if is_whole or is_batch(*pair) else 0
