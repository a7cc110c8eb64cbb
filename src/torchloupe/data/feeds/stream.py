"""Batches from sources that can only be read in sequence: an IterableDataset, or a DataLoader.

Starting at a later step reads and drops everything before it. The random numbers of a stream are a
function of (seed, step), so that a resumed run gets the same ones.
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchloupe.data.contract import Contract
from torchloupe.data.feeds.epochs import tell_epoch
from torchloupe.data.feeds.feed import Batch
from torchloupe.data.feeds.items import plain_label, stack_images, to_device
from torchloupe.data.feeds.rank_share import WHOLE, RankShare
from torchloupe.data.sources.dataset_labels import class_number, hint_below
from torchloupe.data.sources.loaders import is_batched
from torchloupe.data.sources.pairs import describe_item, take_pair
from torchloupe.data.sources.source import Data
from torchloupe.data.sources.stream_labels import are_several, length_of
from torchloupe.data.sources.text_labels import as_text_label
from torchloupe.data.sources.worker_check import refuse_surplus
from torchloupe.errors import DataError, LoupeError, UsageError, printable
from torchloupe.system.counter_rng import hash_parts
from torchloupe.system.generators import find_generators
from torchloupe.system.seeding import rng_preserved, seed_all
from torchloupe.units import plural

COUNTED_AT_MOST = 10**7  # samples of a stream that doesn't say its length
SHORT = 0.8  # of its length, below which the length of a stream is wrong
COUNTED_SECONDS = 120.0  # that counting them may take


class Stream:
    """One part ("train", "val" or "test") of data of kind "stream": a feed and a scan in one.

    A DataLoader's batches are taken as they come; single items are put together, `batch_total`
    at a time, a smaller last batch included. `rows` of its batches count from 0 in each pass.
    """

    def __init__(
        self,
        data: Data,
        part: str,
        contract: Contract,
        batch_total: int,
        seed: int,
        device: torch.device,
    ) -> None:
        loaders = data.reader.loaders  # type: ignore[attr-defined]
        if part not in loaders:
            raise UsageError(f"the data has no {part} part", f"it has: {', '.join(loaders)}")
        self.rank_share: RankShare = (
            WHOLE  # of each batch; with several ranks, each reads the whole stream
        )
        self.device = device
        self._part = part
        self._loader = loaders[part]
        self._is_batched = is_batched(self._loader)
        self._own = find_generators(self._loader)
        self._classes = len(data.samples.class_names)
        self._numbers = {name: k for k, name in enumerate(data.samples.class_names)}
        self._contract = contract
        self._batch_total = batch_total
        self._seed = seed
        self._counted = int(data.reader.counts.get(part, 0))  # type: ignore[attr-defined]
        self._steps: int | None = None

    @property
    def steps_per_epoch(self) -> int:
        """How many batches a pass has; a stream that doesn't say its length is read once."""
        if self._steps is None:
            self._steps = self._count_steps()
        return self._steps

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        """The batches from `start_step` on, pass after pass, without end."""
        epoch, skip = 0, start_step
        if start_step:
            epoch, skip = divmod(start_step, self.steps_per_epoch)
        while True:
            count = 0
            tell_epoch(self._loader, epoch)
            for batch in self._read(epoch):
                count += 1
                if count > skip:
                    share = self.rank_share.take(np.arange(len(batch)))
                    span = slice(int(share.rows[0]), int(share.rows[-1]) + 1)
                    yield batch.cut(span).take(share)
            if not count:
                raise DataError(
                    f"the stream gave nothing in pass {epoch + 1}",
                    "give an object that can be iterated again and again, not an iterator",
                )
            self._refuse_short(count)
            self._steps = self._steps or count
            epoch, skip = epoch + 1, 0

    def _refuse_short(self, count: int) -> None:
        """DataError where a pass had far fewer batches than the length says that it has."""
        if self._steps and count < SHORT * self._steps:
            raise DataError(
                f"a pass of the stream has {plural(count, 'batch', 'batches')}, and its length "
                f"says {self._steps:,}, by which epochs and the schedule are counted",
                "let __len__ give what a pass gives: batches for a loader, samples for a dataset",
            )

    def __iter__(self) -> Iterator[Batch]:
        is_empty = True
        for batch in self._read(0):
            is_empty = False
            own = batch.cut(self.rank_share.span(len(batch)))
            if len(own):
                yield own
        if is_empty:
            raise DataError(
                f"the {self._part} stream gives nothing, or nothing more",
                "let its __iter__ make a new iterator for each pass, and give all samples",
            )

    def _read(self, epoch: int) -> Iterator[Batch]:
        """One pass. Each batch is drawn with the generators seeded by its place in the pass."""
        place, done = 0, 0
        source: Iterator[Any] | None = None
        while True:
            with rng_preserved(self._own):
                seed_all(int(hash_parts(self._seed, 0x57EA, epoch, place)), self._own)
                if source is None:
                    source = iter(self._loader)
                pairs = self._draw(source, done)
            if not pairs:
                return
            rows = np.arange(done, done + len(pairs), dtype=np.int64)
            names = [f"sample {row} of the stream" for row in rows]
            images = stack_images([image for image, _ in pairs], self._contract, names)
            given = [self._number(plain_label(label)) for _, label in pairs]
            labels = self._join_labels(given, names)
            on_device = to_device(images, self._contract, self.device)
            yield Batch(on_device, labels.to(self.device), rows, epoch)
            place, done = place + 1, done + len(pairs)
            refuse_surplus(self._loader, done)

    def _draw(self, source: Iterator[Any], done: int) -> list[tuple[Any, Any]]:
        """The next batch as pairs (image, label); empty at the end."""
        pairs: list[tuple[Any, Any]] = []
        try:
            while len(pairs) < (1 if self._is_batched else self._batch_total):
                item = next(source)
                images, labels = _take_pair(item, done + len(pairs))
                if self._is_batched:
                    return list(zip(images, labels, strict=True))
                pairs.append((images, labels))
        except StopIteration:
            return pairs
        except LoupeError:
            raise
        except Exception as error:
            raise DataError(
                f"the stream failed after sample {done + len(pairs)}: "
                f"{type(error).__name__}: {printable(error)}",
                "it fails by itself too: fix it there",
            ) from error
        return pairs

    def _number(self, label: Any) -> Any:
        """The number of a label that is the name of a class; any other label as it is."""
        text = as_text_label(label)
        return label if text is None else self._numbers.get(text, text)

    def _join_labels(self, given: list[Any], names: list[str]) -> Tensor:
        """[B] int64, or rows [B, K] float32 for mixed images or several labels; DataError else."""
        several = self._contract.multi_label
        labels = given if several else [class_number(label) for label in given]
        if any(np.ndim(label) > 0 for label in labels):  # by MixUp, for example
            labels = given
        for label, name in zip(labels, names, strict=True):
            if np.shape(label) == (self._classes,):
                if several or not are_several(np.asarray(label)[None]):
                    continue
                raise DataError(
                    f"{name} has label {printable(label, 60)}, which doesn't sum to 1: an image "
                    "may have several labels, and those before had one each",
                    "give a sample with several labels, or none, early in the stream: its first "
                    "ones decide what the labels mean",
                )
            is_number = isinstance(label, (int, float)) and int(label) == label
            if is_number and 0 <= label < self._classes and not several:
                continue
            raise self._refuse_label(label, name)
        joined = np.asarray(labels)
        return torch.from_numpy(joined.astype(np.int64 if joined.ndim == 1 else np.float32))

    def _refuse_label(self, label: Any, name: str) -> DataError:
        if self._contract.multi_label:
            return DataError(
                f"{name} has label {printable(label, 60)}; an image may have several of the "
                f"{self._classes} labels",
                f"let it give a row of {self._classes} numbers, 0 or 1 for each label",
            )
        return DataError(
            f"{name} has label {printable(label, 60)}; there are {self._classes} classes",
            hint_below(label)
            if isinstance(label, int) and label < 0
            else "let labels be class numbers from 0, class names, or one number for each class",
        )

    def _count_steps(self) -> int:
        length = self._counted or length_of(self._loader)
        if length is None:
            length, ends = 0, time.monotonic() + COUNTED_SECONDS
            for length, _ in enumerate(self._loader, 1):
                if length > COUNTED_AT_MOST or time.monotonic() > ends:
                    given = "batches" if self._is_batched else "samples"
                    raise UsageError(
                        f"the stream has no length and goes on after {length:,} {given}, which "
                        "were read to count them",
                        "give it a __len__, so that an epoch has an end",
                    )
        return max(1, length if self._is_batched else -(-length // self._batch_total))


def _take_pair(item: Any, place: int) -> tuple[Any, Any]:
    pair = take_pair(item)
    if pair is None:
        raise DataError(
            f"sample {place} of the stream is {describe_item(item)}; wanted (image, label)",
            "let it give pairs of image and label",
        )
    return pair
