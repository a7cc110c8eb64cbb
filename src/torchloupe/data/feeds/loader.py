"""Batches from a user's own map-style Dataset, through torch's DataLoader.

The order is torchloupe's, so starting at any step costs nothing; what an item looks like is the
Dataset's. uint8 and PIL images are fitted and normalised by the contract, float tensors are
taken as they are. Workers send arrays through pipes and need no shared memory.
"""

import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, get_worker_info

from torchloupe.data.augmentation.augment import Augment
from torchloupe.data.contract import Contract
from torchloupe.data.feeds.feed import Batch, OrderedFeed, Rows, label_tensor
from torchloupe.data.feeds.heartbeats import POLL_SECONDS, Heartbeats, watch_workers
from torchloupe.data.feeds.items import Ask, ItemReader, Items, LabelCheck, Refusal, to_device
from torchloupe.data.feeds.order import Order
from torchloupe.data.sources.source import Data
from torchloupe.errors import DataError, ResourceError, UsageError, printable
from torchloupe.system.user_code import Carried


class LoaderFeed(OrderedFeed):
    """Training batches from a Dataset, endless, from any step.

    `augment` comes on top of the Dataset's own transforms; by default nothing does.
    """

    def __init__(
        self,
        data: Data,
        rows: Rows,
        contract: Contract,
        batch_total: int,
        seed: int,
        device: torch.device,
        workers: int = 0,
        augment: Augment | None = None,
    ) -> None:
        drops_last = bool(getattr(data.reader, "drops_last", False))
        order = Order(rows, data.samples.keys, batch_total, seed, drops_last)
        super().__init__(order, augment or Augment(), device)
        self._source = _Source(data, contract, seed, workers, device)
        self._source.reader.tell_epochs(self.order.rows)
        self._limits = None if contract.is_float else contract.limits(device)
        self._augment.refuse_unfit(contract.channels, has_limits=self._limits is not None)

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        """The batches from `start_step` on, without end; where to start costs nothing."""
        samples = self._source.data.samples
        batches = self._source.read(_Asks(self, start_step))
        for batch, (_, share) in zip(batches, self.shares(start_step), strict=False):
            images, labels = self._augment(
                batch.images,
                batch.labels,
                samples.keys[batch.rows],
                seed=self.order.seed,
                epoch=batch.epoch,
                classes=len(samples.class_names),
                limits=self._limits,
            )
            yield Batch(images, labels, batch.rows, batch.epoch).take(share)


class LoaderScan:
    """The samples at `rows` of a Dataset, each once and in that order, in batches of `batch`."""

    def __init__(
        self,
        data: Data,
        rows: Rows,
        contract: Contract,
        batch: int,
        device: torch.device,
        workers: int = 0,
    ) -> None:
        self.rows = np.asarray(rows, dtype=np.int64)
        self.device = device
        self._source = _Source(data, contract, 0, workers, device)
        starts = range(0, len(self.rows), max(1, batch))
        self._asks: list[Ask] = [(0, self.rows[at : at + max(1, batch)]) for at in starts]

    @property
    def count(self) -> int:
        """How many samples it gives."""
        return len(self.rows)

    def __iter__(self) -> Iterator[Batch]:
        return self._source.read(self._asks)


class _Asks:
    """What a feed asks for, from a step on, without end."""

    def __init__(self, feed: LoaderFeed, start_step: int) -> None:
        self._feed = feed
        self._start_step = start_step

    def __iter__(self) -> Iterator[Ask]:
        return ((epoch, share.rows) for epoch, share in self._feed.shares(self._start_step))


class _Source:
    """A Dataset with what it takes to make batches of it."""

    def __init__(
        self, data: Data, contract: Contract, seed: int, workers: int, device: torch.device
    ) -> None:
        self.data = data
        self._contract = contract
        self._workers = workers or int(getattr(data.reader, "workers", 0))
        self._device = device
        dataset = data.reader.dataset  # type: ignore[attr-defined]
        start = getattr(data.reader, "start_worker", None)
        self._start_worker = None if start is None else _WorkerStart(start)
        self.reader = ItemReader(dataset, contract, data.samples.keys, seed)
        self._labels = label_tensor(data.samples.labels, device)
        self._check = LabelCheck(data.samples.labels)

    def read(self, asks: Iterable[Ask]) -> Iterator[Batch]:
        """A Batch for each (epoch, rows) asked for; DataError names the row that is wrong."""
        for items in self._load(asks):
            if isinstance(items, Refusal):
                raise DataError(items.message, items.hint)
            self._check.check(items)
            where = torch.from_numpy(items.rows).to(self._device)
            images = to_device(items.images, self._contract, self._device)
            yield Batch(images, self._labels[where], items.rows, items.epoch)

    def _load(self, asks: Iterable[Ask]) -> Iterator[Items | Refusal]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on the number of cores, and on pickling
                heartbeats = Heartbeats(self._workers) if self._workers else None
                self.reader.heartbeats = heartbeats
                loader: DataLoader[Any] = DataLoader(
                    self.reader,
                    batch_size=None,  # the reader makes whole batches
                    sampler=asks,
                    num_workers=self._workers,
                    collate_fn=_as_it_is,
                    timeout=POLL_SECONDS if self._workers else 0,
                    worker_init_fn=self._start_worker,
                    generator=torch.Generator(),  # else it would draw from the global one
                )
                batches = iter(loader)
            yield from watch_workers(batches, heartbeats) if heartbeats else batches
        except RuntimeError as error:
            if not self._workers:
                raise
            raise ResourceError(
                f"a worker process of the Dataset died: {printable(error)}",
                "the system ends processes that take too much memory: give fewer workers; or "
                "--set data.workers=0 to see what it does",
            ) from error
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            if "pickle" not in str(error):
                raise
            raise UsageError(
                f"the Dataset can't be sent to worker processes: {printable(error)}",
                "define it at the top of a module, or use --set data.workers=0",
            ) from error


class _WorkerStart:
    """The user's worker_init_fn, which finds the user's Dataset in get_worker_info()."""

    def __init__(self, start: Callable[[int], object]) -> None:
        self._start = Carried(start)

    def __call__(self, worker: int) -> None:
        info = get_worker_info()
        if info is not None:
            reader: Any = info.dataset
            vars(info)["dataset"] = reader.dataset  # it forbids plain assignment
        self._start.value(worker)


def _as_it_is(items: Any) -> Any:
    return items
