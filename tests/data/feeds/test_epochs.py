"""Epochs told to samplers and datasets of the user's, from any step on, and to no others."""

from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Sampler, Subset

from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.feeds.epochs import parts_with, tell_epoch
from torchloupe.data.feeds.loader import LoaderFeed, LoaderScan
from torchloupe.data.feeds.stream import Stream
from torchloupe.data.sources import open_data
from torchloupe.errors import UsageError

CPU = torch.device("cpu")


class Rows(Dataset):
    """12 images whose value is the epoch that was told; -1 before."""

    classes = ("a", "b", "c")

    def __init__(self):
        self.epoch = -1
        self.targets = [k % 3 for k in range(12)]

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 12

    def __getitem__(self, row):
        return torch.full((1, 4, 4), float(self.epoch)), row % 3


class Shuffled(Sampler):
    """An order seeded by the epoch."""

    def __init__(self):
        self.epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 12

    def __iter__(self):
        order = torch.Generator().manual_seed(self.epoch)
        return iter(torch.randperm(12, generator=order).tolist())


class Numbered(Rows):
    """Images whose value is their row."""

    def __getitem__(self, row):
        return torch.full((1, 4, 4), float(row)), row % 3


def orders(start, count):
    loader = DataLoader(Numbered(), 6, sampler=Shuffled())
    data = open_data(loader)
    stream = Stream(data, "train", choose_contract(data), 6, 0, CPU)
    batches = islice(stream.batches(start), count)
    return [batch.images[:, 0, 0, 0].int().tolist() for batch in batches]


def test_a_sampler_seeded_by_the_epoch_gives_each_its_order_also_after_a_resume():
    whole = orders(0, 6)
    assert sorted(whole[0] + whole[1]) == list(range(12))
    assert len({tuple(whole[k]) for k in (0, 2, 4)}) == 3
    for start in (1, 2, 3):
        assert orders(start, 6 - start) == whole[start:]
    loader = DataLoader(Numbered(), 6, sampler=Shuffled())
    loader.sampler.set_epoch(2)
    assert [row for batch in whole[4:] for row in batch] == list(loader.sampler)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_dataset_is_told_the_epoch_of_its_batch_in_every_process(workers):
    data = open_data(Rows())
    contract = choose_contract(data)
    feed = LoaderFeed(data, np.arange(12), contract, 6, 0, CPU, workers)
    for start in (0, 3):
        seen = [float(batch.images.mean()) for batch in islice(feed.batches(start), 5)]
        assert seen == [(start + k) // 2 for k in range(5)]


def test_the_datasets_of_val_and_test_are_not_told():
    train, val = Rows(), Rows()
    data = open_data((train, val))
    contract = choose_contract(data)
    feed = LoaderFeed(data, np.arange(12), contract, 6, 0, CPU)
    list(islice(feed.batches(4), 1))
    scan = LoaderScan(data, np.arange(12, 24), contract, 6, CPU)
    assert [float(batch.images.mean()) for batch in scan] == [-1, -1]
    assert (train.epoch, val.epoch) == (2, -1)


def test_all_that_a_loader_is_made_of_is_told_once():
    calls = []

    class Batches(Shuffled):
        def __init__(self, sampler):
            super().__init__()
            self.sampler = sampler

        def set_epoch(self, epoch):
            calls.append(epoch)

        def __iter__(self):
            return iter([[0, 1]])

    first, second, sampler = Rows(), Rows(), Shuffled()
    joined = Subset(ConcatDataset([first, second, first]), [0, 1])
    tell_epoch(DataLoader(joined, batch_sampler=Batches(sampler)), 5)
    assert (first.epoch, second.epoch, sampler.epoch, calls) == (5, 5, 5, [5])
    assert parts_with(first, np.arange(2)) is None
    assert parts_with(ConcatDataset([first, second]), np.array([3, 12])) == (0, 1)


def test_a_set_epoch_that_fails_is_named():
    class Odd(Rows):
        def set_epoch(self, epoch):
            raise ValueError(f"no epoch {epoch}")

    with pytest.raises(UsageError, match=r"set_epoch of Odd fails at .*: ValueError: no epoch 3"):
        tell_epoch(Odd(), 3)
