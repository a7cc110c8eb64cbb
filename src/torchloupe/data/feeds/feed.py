"""Batches on the device: gathered from pixels, normalised, and for training augmented.

A feed trains: it is endless, shuffled, and starts at any step. A scan evaluates: it gives every
sample once, in order. Neither holds a position: asking again starts again.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchloupe.data.augmentation.augment import Augment
from torchloupe.data.contract import Contract
from torchloupe.data.feeds.order import Order
from torchloupe.data.feeds.rank_share import WHOLE, BatchShare, RankShare
from torchloupe.data.pack.pixels import Pixels
from torchloupe.data.samples import Samples
from torchloupe.errors import ResourceError

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Batch:
    """Images with their labels, on one device."""

    images: Tensor  # [B, C, H, W] float, as the model takes them
    labels: Tensor  # [B] int64, or [B, K] float32 where mixed or where an image has several
    rows: Rows  # [B] rows of the samples table
    epoch: int = 0
    total: int = 0  # samples of the step over all ranks; 0: these are all of them
    is_padding: bool = False  # this rank has no sample in the step: these have weight 0
    taught: Tensor | None = None  # [B, K] float32: a teacher's logits for these images

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def step_total(self) -> int:
        """How many samples the step has over all ranks."""
        return self.total or len(self)

    @property
    def targets(self) -> tuple[Tensor, ...]:
        """What the loss of a step takes beside the logits: the labels, and a teacher's answers."""
        return (self.labels,) if self.taught is None else (self.labels, self.taught)

    def micro(self, count: int) -> Iterator[tuple["Batch", float]]:
        """This batch as up to `count` micro-batches, each with its fraction of the step's samples.

        Sizes differ by one at most and none is empty; over all ranks the fractions add up to 1, so
        that the sum of the losses weighted by them is the loss of the whole step. A rank's share
        of a step comes in exactly `count` micro-batches, so that all ranks do the same: where it
        has fewer samples, some are padding with the weight 0.
        """
        own = 0 if self.is_padding else len(self)
        count = max(1, count if self.total else min(count, own))
        if count == 1:
            yield self, own / self.step_total
            return
        edges = [own * number // count for number in range(count + 1)]
        for start, end in pairwise(edges):
            part = self.cut(slice(start, max(end, start + 1)) if own > start else slice(0, 1))
            yield part, (end - start) / self.step_total

    def cut(self, span: slice) -> "Batch":
        """The samples at `span`."""
        return replace(
            self,
            images=self.images[span],
            labels=self.labels[span],
            rows=self.rows[span],
            taught=None if self.taught is None else self.taught[span],
        )

    def take(self, share: BatchShare) -> "Batch":
        """What a rank works on, once its samples are mixed with their neighbours."""
        if not share.total:
            return self
        own = self if share.count == len(self) else self.cut(slice(0, share.count))
        return replace(own, total=share.total, is_padding=share.is_padding)


def until(stop: Callable[[], bool], batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yields `batches` until `stop()` returns true.

    Ctrl-C in a terminal, and SIGTERM from many schedulers, reach the loader's workers as well:
    when `stop()` is true, dead workers end the iteration and are no error.
    """
    source = iter(batches)
    while not stop():
        try:
            batch = next(source)
        except StopIteration:
            return
        except ResourceError:
            if not stop():
                raise
            return
        yield batch


class OrderedFeed:
    """What the feeds of a table have in common: the order of its rows, and this rank's share."""

    def __init__(self, order: Order, augment: Augment, device: torch.device) -> None:
        self.order = order
        self.rank_share: RankShare = WHOLE  # of each batch, if there are several ranks
        self.views = 0  # after so many epochs augmentations come again; 0: never
        self.device = device
        self._augment = augment

    @property
    def count(self) -> int:
        """How many samples an epoch has."""
        return len(self.order.rows)

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has, a smaller last one included unless it is left out."""
        return self.order.steps_per_epoch

    def shares(self, start_step: int) -> Iterator[tuple[int, BatchShare]]:
        """(epoch, what this rank reads) of every step from `start_step` on, without end."""
        for epoch, rows in self.order.batches(start_step):
            yield epoch, self.rank_share.take(rows, self._augment.neighbours)


class PixelFeed(OrderedFeed):
    """Training batches from decoded pixels; see Order for the order and Augment for the changes."""

    def __init__(
        self,
        pixels: Pixels,
        samples: Samples,
        rows: Rows,
        contract: Contract,
        augment: Augment,
        batch_total: int,
        seed: int,
        device: torch.device,
    ) -> None:
        augment.refuse_unfit(contract.channels)
        super().__init__(Order(rows, samples.keys, batch_total, seed), augment, device)
        self._pixels = pixels
        self._samples = samples
        self._labels = label_tensor(samples.labels, device)
        self._contract = contract

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        """The batches from `start_step` on, without end; where to start costs nothing."""
        if self._pixels.array is None:
            return self._batches_ahead(start_step)
        return self._batches_at_once(start_step)

    def _batches_at_once(self, start_step: int) -> Iterator[Batch]:
        for epoch, share in self.shares(start_step):
            yield self._finish(self._pixels.gather_on(self.device, share.rows), share, epoch)

    def _batches_ahead(self, start_step: int) -> Iterator[Batch]:
        """Batches decoded on the fly, one ahead of the model."""
        steps = self.shares(start_step)
        with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
            ahead: Future[Tensor] | None = None
            epoch, share = next(steps)
            while True:
                images = ahead.result() if ahead else self._pixels.gather(share.rows)
                following = next(steps)
                ahead = pool.submit(self._pixels.gather, following[1].rows)
                yield self._finish(images.to(self.device), share, epoch)
                epoch, share = following

    def look(self, rows: Rows, epoch: int) -> Batch:
        """The images at `rows`, augmented as in `epoch`, in this order."""
        share = BatchShare(rows, len(rows))
        return self._finish(self._pixels.gather_on(self.device, rows), share, epoch)

    def _finish(self, images: Tensor, share: BatchShare, epoch: int) -> Batch:
        """Normalise and augment images [B, H, W, C] that are on the device."""
        rows = share.rows
        where = torch.from_numpy(rows).to(self.device, non_blocking=True)
        changed, labels = self._augment(
            self._contract.normalise(images),
            self._labels[where],
            self._samples.keys[rows],
            seed=self.order.seed,
            epoch=epoch % self.views if self.views else epoch,
            classes=len(self._samples.class_names),
            limits=self._contract.limits(self.device),
        )
        return Batch(changed, labels, rows, epoch).take(share)


class PixelScan:
    """The samples at `rows`, each once and in that order, in batches of `batch`."""

    def __init__(
        self,
        pixels: Pixels,
        samples: Samples,
        rows: Rows,
        contract: Contract,
        batch: int,
        device: torch.device,
    ) -> None:
        self.rows = np.asarray(rows, dtype=np.int64)
        self.device = device
        self._pixels = pixels
        self._labels = label_tensor(samples.labels, device)
        self._contract = contract
        self._batch = max(1, batch)

    @property
    def count(self) -> int:
        """How many samples it gives."""
        return len(self.rows)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.rows), self._batch):
            rows = self.rows[start : start + self._batch]
            images = self._contract.normalise(self._pixels.gather_on(self.device, rows))
            where = torch.from_numpy(rows).to(self.device, non_blocking=True)
            yield Batch(images, self._labels[where], rows)


def label_tensor(labels: NDArray[Any], device: torch.device) -> Tensor:
    """All labels on the device: [N] int64, or [N, K] float32."""
    kind = np.int64 if labels.ndim == 1 else np.float32
    return torch.from_numpy(np.ascontiguousarray(labels, dtype=kind)).to(device)


class Feed(Protocol):
    """An endless stream of batches that can start at any step."""

    def batches(self, start_step: int = 0) -> Iterator[Batch]: ...
