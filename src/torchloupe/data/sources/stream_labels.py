"""What the labels of a stream are: class numbers, texts, or rows with one number for each class.

A stream has no table of labels, so some of it is read: all of it where nothing names its classes,
else as much as it takes to tell soft labels of one class from several labels an image.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from torchloupe.data.sources.dataset_labels import known_labels
from torchloupe.data.sources.loaders import find_batch
from torchloupe.data.sources.pairs import describe_item, note_more, take_pair
from torchloupe.data.sources.text_labels import as_text_label
from torchloupe.errors import DataError, LoupeError, printable
from torchloupe.system.generators import find_generators
from torchloupe.system.seeding import rng_preserved, seed_all

SUM_SLACK = 0.1  # by which the sum of soft labels may miss 1: rounding, odd smoothing
_PATIENCE_SECONDS = 20.0  # for rows of labels, until one of them doesn't sum to 1
_LENGTH_SECONDS = 1.0  # for the end of a stream whose length is its own word
_ROWS_OF_COLLATE = 256  # where the dataset's own labels are numbers: collating made the rows


@dataclass
class Look:
    """What was seen of the labels of a stream."""

    items: int = 0  # batches, or samples where it gives these
    rows: int = 0
    width: int = 0  # of labels that are rows, one number for each class
    lowest: int = 2**62
    highest: int = -1
    numbers: set[int] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    has_several: bool = False
    is_whole: bool = False  # read to its end
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since the first item was asked for."""
        return time.monotonic() - self.began


def are_several(rows: NDArray[Any]) -> bool:
    """Whether some rows [N, K] of 0 to 1 don't sum to 1: an image may have several labels, or none.

    Other numbers, such as a teacher's logits, say nothing.
    """
    if rows.ndim != 2 or not rows.size or not ((rows >= 0) & (rows <= 1)).all():
        return False
    sums = rows.astype(np.float64).sum(axis=1)
    return bool((np.abs(sums - 1) > SUM_SLACK).any())


def look_through(loader: Any, is_done: Callable[[Look], bool]) -> Look:
    """Read the labels of a stream until it ends or `is_done`; no random numbers are used up.

    DataError for an item that is no pair, and for labels that are neither numbers nor texts.
    """
    own = find_generators(loader)
    with rng_preserved(own):
        seed_all(0, own)
        is_batched = find_batch(loader) > 0
        look = Look()
        for item in _items(loader):
            pair = take_pair(item)
            if pair is None:
                raise DataError(
                    f"the stream gives {describe_item(item)}; wanted (image, label)",
                    "let it give pairs of image and label",
                )
            _add(look, pair[1], is_batched)
            if is_done(look):
                return look
        look.is_whole = True
    return look


def _items(loader: Any) -> Any:
    """The items of one pass; DataError where the stream itself fails."""
    count = 0
    try:
        for item in loader:
            yield item
            count += 1
    except LoupeError:
        raise
    except Exception as error:
        raise DataError(
            f"the stream failed after {count:,} items: {type(error).__name__}: {printable(error)}",
            "it fails by itself too: fix it there",
        ) from error


def _add(look: Look, labels: Any, is_batched: bool) -> None:
    found = _as_array(labels)
    found = np.atleast_1d(found) if is_batched else found[None]
    look.items += 1
    look.rows += len(found)
    if found.dtype.kind in "US":
        look.texts |= {text for each in found.flat if (text := as_text_label(each.item()))}
        return
    if found.ndim == 2 and found.shape[1] > 1:
        look.width = found.shape[1]
        look.has_several = look.has_several or are_several(found)
        look.highest = max(look.highest, look.width - 1)
        look.lowest = 0
        return
    numbers = found.astype(np.int64)
    if not (numbers == found).all():
        raise DataError(
            f"the stream's labels are of type {found.dtype}, and {found[numbers != found].flat[0]} "
            "is not a class number",
            "let labels be whole numbers from 0, class names, or one number for each class",
        )
    look.numbers.update(np.unique(numbers).tolist())
    look.highest = max(look.highest, int(numbers.max(initial=-1)))
    look.lowest = min(look.lowest, int(numbers.min(initial=look.lowest)))


def _as_array(labels: Any) -> NDArray[Any]:
    """Labels of an item or a batch as an array; DataError for anything else."""
    if isinstance(labels, (list, tuple)):
        labels = [each.detach().cpu() if hasattr(each, "detach") else each for each in labels]
    try:
        found = np.asarray(labels.detach().cpu() if hasattr(labels, "detach") else labels)
    except (ValueError, TypeError, RuntimeError):
        found = np.empty(0, dtype=object)
    if found.dtype.kind not in "biufUS" or found.ndim > 2:
        raise refuse_labels(labels)
    return found


def refuse_labels(labels: Any) -> DataError:
    """The error for labels of a stream that are of no known form."""
    if _is_mixed(labels):
        return DataError(
            "the labels of the stream are a tuple of 3, as MixUp gives them: (labels, labels of "
            "the other images, share)",
            "join them where they are made: share * one_hot(a, K).float() + (1 - share) * "
            "one_hot(b, K).float(); or leave mixing to augment.mixup or augment.cutmix",
        )
    return DataError(
        f"the labels of the stream are {describe_item(labels)}, not class numbers",
        "let labels be class numbers from 0, class names, or one number for each class",
    )


def note_first(loader: Any) -> tuple[str, ...]:
    """A note where the first item holds more than images and labels; DataError if MixUp made it."""
    own = find_generators(loader)
    with rng_preserved(own):
        seed_all(0, own)
        try:
            item = next(iter(loader))
        except Exception:  # empty or broken: reading it for its own sake says so
            return ()
    rest = item[1:4] if isinstance(item, (tuple, list)) and len(item) == 4 else ()
    if rest and np.ndim(rest[0]) == 1 and _is_mixed(rest):
        raise refuse_labels(rest)
    return note_more(item)


def _is_mixed(labels: Any) -> bool:
    """Whether this is (labels, labels of the other images, share), as MixUp gives it."""
    return (
        isinstance(labels, (tuple, list))
        and len(labels) == 3
        and np.ndim(labels[2]) == 0
        and np.shape(labels[0]) == np.shape(labels[1])
        and 0 <= float(labels[2]) <= 1
    )


def look_briefly(loader: Any, parts: Mapping[int, Any]) -> Look:
    """What the labels are, from as little as is enough: of a known number of classes."""
    known = [found for part in parts.values() if (found := _known(part)) is not None]
    told = any(found.ndim == 2 and are_several(found) for found in known)
    own = _known(loader)
    are_numbers = own is not None and not (own.ndim == 2 and are_several(own))
    checks = _has_doubtful_length(loader)

    def is_done(look: Look) -> bool:
        is_sure = not look.width or look.has_several or told
        is_sure = is_sure or (are_numbers and look.rows >= _ROWS_OF_COLLATE)
        limit = _LENGTH_SECONDS if is_sure else _PATIENCE_SECONDS
        return look.seconds > limit or (is_sure and not checks)

    look = look_through(loader, is_done)
    if look.width and not look.has_several:
        others = [part for part in parts.values() if part is not loader]
        look.has_several = told or any(map(_starts_with_several, others))
    return look


def _starts_with_several(loader: Any) -> bool:
    """Whether the first labels of another split are several an image."""
    look = look_through(
        loader,
        lambda look: not look.width or look.has_several or look.rows >= _ROWS_OF_COLLATE,
    )
    return look.has_several


def _known(loader: Any) -> NDArray[Any] | None:
    """The labels that the dataset in a loader gives without reading it."""
    dataset = getattr(loader, "dataset", loader)
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        return None
    found = known_labels(dataset)
    return found if found is not None and len(found) else None


def _has_doubtful_length(loader: Any) -> bool:
    """Whether the length is code of the user's, which may be wrong, and easy to check."""
    if length_of(loader) is None or getattr(loader, "num_workers", None):
        return False
    if type(loader) is not DataLoader or isinstance(loader.dataset, IterableDataset):
        return True
    sampler = loader.sampler if type(loader.batch_sampler) is BatchSampler else loader.batch_sampler
    return not type(sampler).__module__.startswith(("torch.", "builtins"))


def length_of(loader: Any) -> int | None:
    """What `len` says of a loader; None where it says nothing."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError, AttributeError):
        return None


def refuse_mark(numbers: set[int]) -> None:
    """DataError for labels 0, 1, ... and 255, which marks what a loss ignores."""
    others = numbers - {255}
    if 1 < len(others) < min(len(numbers), 255) and others == set(range(len(others))):
        raise DataError(
            f"the stream's labels are 0 to {len(others) - 1} and 255",
            "where 255 marks what the loss ignores, leave these samples out: label != 255; else "
            "name every class by data.class_names",
        )


def note_length(loader: Any, look: Look) -> tuple[str, ...]:
    """A note where a stream gives another number of items than its length says."""
    length = length_of(loader)
    if length is None or not look.is_whole or look.items == length:
        return ()
    given = "batches" if find_batch(loader) else "samples"
    return (
        f"the stream gives {look.items:,} {given} a pass, and its length says {length:,}: an epoch "
        f"is the {look.items:,} that it gives; let __len__ say so",
    )


def look_at_all(loader: Any) -> Look:
    """The labels of a whole pass; one that goes on far beyond its length is not read further."""
    length = length_of(loader) or 0
    most = max(10 * length, length + 1000)
    return look_through(loader, lambda look: look.items >= most)
