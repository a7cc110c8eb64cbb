"""Batches of shards: decoded some batches ahead, with the shards fetched before they are needed.

Shards are fetched as far ahead as one lasts, so that each lane has its next one, and twice as far
each time that one was not there when it was needed. Memory holds a few batches, the disk the shards
in use, whatever the size of the set.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from torchloupe.data.augmentation.augment import Augment
from torchloupe.data.contract import Contract
from torchloupe.data.feeds.feed import Batch, PixelFeed, PixelScan
from torchloupe.data.feeds.rank_share import BatchShare
from torchloupe.data.feeds.shard_order import ShardOrder
from torchloupe.data.pack.streamed import Decoded, StreamedPixels
from torchloupe.data.samples import Samples
from torchloupe.system.counter_rng import make_keys

BATCHES_AHEAD = 4  # that are decoded before they are needed
FIRST_AHEAD, FURTHEST_AHEAD = 64, 4096  # batches at least, and at most, whose shards are fetched
REVIEW_BATCHES = 4  # after so many at least it is said which shards come next
REVIEWED_PART = 4  # of what is looked ahead: it is said again after a quarter of it
MOST_UNSAID = 64  # batches after which it is said again in any case

Rows = NDArray[np.int64]


class ShardFeed(PixelFeed):
    """Training batches of shards; see ShardOrder for the order."""

    def __init__(
        self,
        pixels: StreamedPixels,
        samples: Samples,
        rows: Rows,
        contract: Contract,
        augment: Augment,
        order: tuple[int, int, int, int],
        device: torch.device,
    ) -> None:
        """`order` is (batch_total, seed, lanes, mixed shards)."""
        batch_total, seed, lanes, mixed = order
        super().__init__(pixels, samples, rows, contract, augment, batch_total, seed, device)
        reader = pixels.reader
        self._streamed = pixels
        self._shard_of = reader.places[:, 0]
        names = [address.rpartition("/")[2] for address in reader.shards]
        made = ShardOrder(
            rows, samples.keys, batch_total, seed, self._shard_of, make_keys(names), (lanes, mixed)
        )
        self.order, self._lasts = made, made.batches_of_a_shard

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        """The batches from `start_step` on, without end; where to start costs nothing."""
        with Wanted(self._streamed, self._shard_of, self._lasts) as wanted:
            yield from self._batches_from(start_step, wanted)

    def _batches_from(self, start_step: int, wanted: "Wanted") -> Iterator[Batch]:
        decoded = self._streamed
        steps = self.shares(start_step)
        coming: deque[tuple[int, BatchShare, Callable[[], Decoded]]] = deque()
        step = start_step
        while True:
            if wanted.is_far and (step - start_step) % wanted.every == 0:
                later = islice(self.shares(step), wanted.ahead)
                wanted.say([share.rows for _, share in later])
            while len(coming) <= BATCHES_AHEAD:
                epoch, share = next(steps)
                coming.append((epoch, share, decoded.begin(share.rows)))
            epoch, share, finish = coming.popleft()
            images, is_sound = finish()
            on_device = torch.from_numpy(images).to(self.device, non_blocking=True)
            batch = self._finish(on_device, share, epoch)
            if not is_sound.all():
                batch = leave_out(batch, share, is_sound, self._augment.neighbours)
            yield batch
            step += 1


class ShardScan(PixelScan):
    """A PixelScan of shards. Images that can't be decoded are left out."""

    def __init__(
        self,
        pixels: StreamedPixels,
        samples: Samples,
        rows: Rows,
        contract: Contract,
        batch: int,
        device: torch.device,
    ) -> None:
        super().__init__(pixels, samples, rows, contract, batch, device)
        self._streamed = pixels

    def __iter__(self) -> Iterator[Batch]:
        reader = self._streamed.reader
        with Wanted(self._streamed, reader.places[:, 0]) as wanted:
            yield from self._batches(wanted)

    def _batches(self, wanted: "Wanted") -> Iterator[Batch]:
        reader = self._streamed.reader
        is_glance = reader.is_glance(self.rows)
        if is_glance:
            reader.warm(self.rows)
        pieces = [
            self.rows[start : start + self._batch]
            for start in range(0, len(self.rows), self._batch)
        ]
        coming: deque[tuple[Rows, Callable[[], Decoded]]] = deque()
        begun = 0
        for number in range(len(pieces)):
            if wanted.is_far and not is_glance and number % wanted.every == 0:
                wanted.say(pieces[number : number + wanted.ahead])
            while begun < len(pieces) and len(coming) <= BATCHES_AHEAD:
                coming.append((pieces[begun], self._streamed.begin(pieces[begun])))
                begun += 1
            rows, finish = coming.popleft()
            images, is_sound = finish()
            if not is_sound.any():
                continue
            if not is_sound.all():
                images, rows = images[is_sound], rows[is_sound]
            shown = self._contract.normalise(torch.from_numpy(images).to(self.device))
            yield Batch(shown, self._labels[torch.from_numpy(rows).to(self.device)], rows)


class Wanted:
    """Tells the cache which shards come next, and looks further ahead if one came too late.

    When its context ends, the cache is told that none is needed any more.
    """

    def __init__(self, pixels: StreamedPixels, shard_of: Rows, lasts: int = 0) -> None:
        """`lasts` is how many batches a shard lasts."""
        self.ahead = min(max(FIRST_AHEAD, lasts), FURTHEST_AHEAD)
        self._store = pixels.reader.store
        self._shard_of = shard_of
        self._late = 0 if self._store is None else self._store.late
        self._reviews = 0

    def __enter__(self) -> "Wanted":
        return self

    def __exit__(self, *_: object) -> None:
        if self._store is not None:
            self._store.leave(self)

    @property
    def is_far(self) -> bool:
        """Whether there is a cache to tell."""
        return self._store is not None

    @property
    def every(self) -> int:
        """After how many batches it is said again which shards come next."""
        return min(MOST_UNSAID, max(REVIEW_BATCHES, self.ahead // REVIEWED_PART))

    def say(self, batches: list[Rows]) -> None:
        """Ask for the shards of these batches, in the order in which they are needed."""
        if self._store is None or not batches:
            return
        self._reviews += 1
        shards = self._shard_of[np.concatenate(batches)]
        numbers, first = np.unique(shards, return_index=True)
        self._store.want(numbers[np.argsort(first)].tolist(), self)
        if self._store.late > self._late and self._reviews > 2:  # at the start all are late
            self.ahead = min(2 * self.ahead, FURTHEST_AHEAD)
        self._late = self._store.late


def leave_out(
    batch: Batch, share: BatchShare, is_sound: NDArray[np.bool_], neighbours: int
) -> Batch:
    """`batch` without the images that could not be decoded, nor those mixed with one of them.

    They have weight 0: the step's samples stay as many as they were, so that the result does not
    depend on the number of ranks. A rank with none left computes one as padding.
    """
    keep = is_sound[: share.count].copy()
    if neighbours:  # each image is mixed with the one after it
        keep &= np.roll(is_sound, -1)[: share.count]
    total = share.total or share.count
    if not keep.any() or share.is_padding:
        return replace(batch.cut(slice(0, 1)), total=total, is_padding=True)
    places = np.flatnonzero(keep)
    where = torch.from_numpy(places).to(batch.images.device)
    return replace(
        batch,
        images=batch.images[where],
        labels=batch.labels[where],
        rows=batch.rows[places],
        total=total,
    )
