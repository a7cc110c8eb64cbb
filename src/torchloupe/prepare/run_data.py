"""The data of a run as the loop and the evaluation see them: feeds, scans and counts.

Four kinds behind one interface: images in a pack, shards that are streamed, a Dataset that is read
item by item, and a stream that can only be read in sequence.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from torchloupe.data.augmentation.augment import Augment
from torchloupe.data.contract import Contract
from torchloupe.data.feeds.feed import Batch, PixelFeed, PixelScan
from torchloupe.data.feeds.loader import LoaderFeed, LoaderScan
from torchloupe.data.feeds.rank_share import WHOLE, RankShare
from torchloupe.data.feeds.shard_feed import ShardFeed, ShardScan
from torchloupe.data.feeds.shard_turns import ORDER
from torchloupe.data.feeds.stream import Stream
from torchloupe.data.pack.pixels import Pixels
from torchloupe.data.pack.streamed import StreamedPixels
from torchloupe.data.samples import Samples
from torchloupe.data.sources import Data
from torchloupe.data.split import Splits
from torchloupe.errors import UsageError
from torchloupe.evaluation.inference import BATCH_MULTIPLE, LARGEST_BATCH

Rows = NDArray[np.int64]

CPU = torch.device("cpu")
EVALUATION_PIXELS = 2**20  # values in one evaluation batch, of 16 to 256 images
DATASET_SAMPLES = 2  # that are read from a Dataset only to look at them: each may be slow


class TrainingFeed(Protocol):
    """Batches for training, without end, from any step."""

    rank_share: RankShare

    @property
    def steps_per_epoch(self) -> int: ...

    def batches(self, start_step: int = 0) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class RunData(ABC):
    """What every kind of data has; PackedData, DatasetData and StreamData open feeds and scans."""

    source: Data
    splits: Splits
    contract: Contract
    fingerprint: str
    workers: int
    notes: tuple[str, ...]
    pixels: Pixels | None = None  # None: every image is read from its source each time
    rank_share: RankShare = WHOLE  # this rank's, of every batch and of every scan of a split
    layout: tuple[int, int] = (8, 4)  # of streamed shards: lanes, and shards mixed in each

    @property
    def samples(self) -> Samples:
        """The table of all samples; rows of the splits point into it."""
        return self.source.samples

    def rows(self, split: str) -> Rows:
        """The rows of "train", "val" or "test"; empty for a stream, which has no table."""
        found: Rows = getattr(self.splits, split)
        return found

    def has(self, split: str) -> bool:
        """Whether there is anything in "train", "val" or "test"."""
        return len(self.rows(split)) > 0

    @property
    def train_count(self) -> int:
        """How many training images there are; 0 for a stream that does not say."""
        return len(self.splits.train)

    def class_counts(self) -> NDArray[np.int64] | None:
        """Training images of each class [K]; None if they can't be counted."""
        return self.samples.class_counts(self.splits.train)

    def some_rows(self, most: int) -> Rows:
        """Up to `most` rows, spread evenly over the training split."""
        rows = self.splits.train
        count = min(most, len(rows))
        return rows[np.arange(count) * len(rows) // max(count, 1)]

    def facts(self) -> dict[str, Any]:
        """What identifies the data, for environment.json and for refusing changed data."""
        counts = self.samples.class_counts()
        return {
            "name": self.source.name,
            "kind": self.source.kind,
            "fingerprint": self.fingerprint,
            "images": len(self.samples),
            "set_aside": len(self.pixels.bad) if self.pixels else 0,
            "ignored_files": dict(self.source.ignored),
            "train": self.train_count,
            "val": len(self.splits.val),
            "test": len(self.splits.test),
            "images_of_class": dict(zip(self.samples.class_names, map(int, counts), strict=True)),
        }

    def feed(
        self,
        batch_total: int,
        seed: int = 0,
        augment: Augment | None = None,
        device: torch.device = CPU,
    ) -> TrainingFeed:
        """Batches for training, shuffled, without end, from any step; this rank's share of each."""
        feed = self._open_feed(batch_total, seed, augment or Augment(), device)
        feed.rank_share = self.rank_share
        return feed

    def scan(self, split: str, device: torch.device = CPU) -> Iterable[Batch]:
        """This rank's share of "train", "val" or "test"; over all ranks each sample once."""
        rows = self.rows(split)
        return self.scan_rows(rows[self.rank_share.span(len(rows))], device, split)

    def scan_rows(self, rows: Rows, device: torch.device, split: str = "train") -> Iterable[Batch]:
        """The samples at `rows`, each once and in that order, in batches for evaluation.

        A stream has no rows: it gives the whole `split`.
        """
        return self._open_scan(rows, split, self._evaluation_batch, device)

    @property
    def _evaluation_batch(self) -> int:
        """Images of one evaluation batch: many small ones, few large ones."""
        height, width = self.contract.size
        fitting = EVALUATION_PIXELS // (height * width * self.contract.channels)
        even = fitting // BATCH_MULTIPLE * BATCH_MULTIPLE
        return max(BATCH_MULTIPLE, min(LARGEST_BATCH, even))

    @abstractmethod
    def _open_feed(
        self, batch_total: int, seed: int, augment: Augment, device: torch.device
    ) -> TrainingFeed:
        """The feed of this kind of data, of all ranks."""

    @abstractmethod
    def _open_scan(
        self, rows: Rows, split: str, batch: int, device: torch.device
    ) -> Iterable[Batch]:
        """The scan of this kind of data, in batches of `batch`."""


class PackedData(RunData):
    """Files and arrays: decoded by torchloupe, augmented and normalised in whole batches."""

    def _open_feed(
        self, batch_total: int, seed: int, augment: Augment, device: torch.device
    ) -> TrainingFeed:
        assert self.pixels is not None
        rows, contract = self.splits.train, self.contract
        return PixelFeed(
            self.pixels, self.samples, rows, contract, augment, batch_total, seed, device
        )

    def _open_scan(
        self,
        rows: Rows,
        split: str,  # noqa: ARG002
        batch: int,
        device: torch.device,
    ) -> Iterable[Batch]:
        assert self.pixels is not None
        return PixelScan(self.pixels, self.samples, rows, self.contract, batch, device)


class ShardedData(PackedData):
    """Tar shards, here or far away, that are read and decoded each time."""

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "order": ORDER}

    def _open_feed(
        self, batch_total: int, seed: int, augment: Augment, device: torch.device
    ) -> TrainingFeed:
        pixels = self._streamed()
        order = (batch_total, seed, *self.layout)
        rows = self.splits.train
        return ShardFeed(pixels, self.samples, rows, self.contract, augment, order, device)

    def _open_scan(
        self,
        rows: Rows,
        split: str,  # noqa: ARG002
        batch: int,
        device: torch.device,
    ) -> Iterable[Batch]:
        return ShardScan(self._streamed(), self.samples, rows, self.contract, batch, device)

    def _streamed(self) -> StreamedPixels:
        assert isinstance(self.pixels, StreamedPixels)
        return self.pixels


class DatasetData(RunData):
    """A map-style Dataset: read through a DataLoader, with transforms of its own."""

    def some_rows(self, most: int) -> Rows:
        return super().some_rows(min(most, DATASET_SAMPLES))

    def _open_feed(
        self, batch_total: int, seed: int, augment: Augment, device: torch.device
    ) -> TrainingFeed:
        rows, contract, workers = self.splits.train, self.contract, self.workers
        return LoaderFeed(self.source, rows, contract, batch_total, seed, device, workers, augment)

    def _open_scan(
        self,
        rows: Rows,
        split: str,  # noqa: ARG002
        batch: int,
        device: torch.device,
    ) -> Iterable[Batch]:
        return LoaderScan(self.source, rows, self.contract, batch, device, self.workers)


class StreamData(RunData):
    """An IterableDataset or a DataLoader that is used as it is: no table, no rows."""

    @property
    def loaders(self) -> dict[str, Any]:
        """The loader of each split that there is."""
        found: dict[str, Any] = self.source.reader.loaders  # type: ignore[attr-defined]
        return found

    def has(self, split: str) -> bool:
        return split in self.loaders

    @property
    def train_count(self) -> int:
        loader = self.loaders["train"]
        try:
            return len(getattr(loader, "dataset", loader))
        except TypeError:
            return 0

    def class_counts(self) -> NDArray[np.int64] | None:
        return None

    def scan(self, split: str, device: torch.device = CPU) -> Iterable[Batch]:
        stream = self._open_scan(self.rows("train"), split, self._evaluation_batch, device)
        stream.rank_share = self.rank_share
        return stream

    def _open_feed(
        self, batch_total: int, seed: int, augment: Augment, device: torch.device
    ) -> TrainingFeed:
        if not augment.is_off:
            raise UsageError(
                "a stream is trained on as it comes, and can't be augmented here",
                "put the changes into the stream, and leave out the augment. settings",
            )
        return Stream(self.source, "train", self.contract, batch_total, seed, device)

    def _open_scan(
        self,
        rows: Rows,  # noqa: ARG002
        split: str,
        batch: int,
        device: torch.device,
    ) -> Stream:
        return Stream(self.source, split, self.contract, batch, 0, device)
