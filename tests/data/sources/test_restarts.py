"""Loaders that are their own iterators: those that start anew, and those that can be read once."""

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from torchloupe.data.sources import open_data
from torchloupe.data.sources.restarts import as_restarting
from torchloupe.errors import DataError, UsageError

TENSORS = TensorDataset(torch.rand(12, 1, 6, 6), torch.arange(12) % 3)


class Prefetch:
    """Starts anew in `__iter__`."""

    def __init__(self, shuffle=False):
        self.inner = DataLoader(TENSORS, 4, shuffle=shuffle)
        self.batches = iter(self.inner)

    def __len__(self):
        return 3

    def __iter__(self):
        self.batches = iter(self.inner)
        return self

    def __next__(self):
        return next(self.batches)


class Once(Prefetch):
    """Goes on in `__iter__`, and never starts anew."""

    def __iter__(self):
        return self


class AtItsEnd(Once):
    """Starts anew at its end, as DALI's loaders with auto_reset do."""

    def __next__(self):
        try:
            return next(self.batches)
        except StopIteration:
            self.batches = iter(self.inner)
            raise


@pytest.mark.parametrize("loader", [Prefetch(), Prefetch(shuffle=True), AtItsEnd()])
def test_loaders_that_start_anew_are_read_pass_after_pass(loader):
    data = open_data((loader, TENSORS))
    train = data.reader.loaders["train"]
    next(iter(train))  # a pass that is left early
    for _ in range(2):
        labels = torch.cat([labels for _, labels in train])
        assert sorted(labels.tolist()) == sorted(TENSORS.tensors[1].tolist())
    assert len(train) == 3
    assert as_restarting(train) is train


@pytest.mark.parametrize(
    ("loader", "message", "hint"),
    [
        (Once(), "Once is its own iterator, and gives nothing after its end", "self.reset()"),
        (iter(DataLoader(TENSORS, 4)), "an iterator .* can be read only once", "the loader itself"),
        ((pair for pair in TENSORS), r"an iterator \(generator\) can be read", "the loader itself"),
    ],
)
def test_iterators_that_end_are_refused(loader, message, hint):
    with pytest.raises(UsageError, match=message) as caught:
        open_data((loader, TENSORS))
    assert hint in caught.value.hint


class Same(IterableDataset):
    """`__iter__` gives what `__init__` made."""

    classes = ("a", "b", "c")

    def __init__(self, items=TENSORS):
        self.items = iter(list(items))

    def __iter__(self):
        return self.items


@pytest.mark.parametrize("wrap", [lambda dataset: dataset, lambda dataset: DataLoader(dataset, 4)])
def test_a_dataset_that_gives_one_iterator_is_refused(wrap):
    with pytest.raises(DataError, match="__iter__ of Same returns the same iterator") as caught:
        open_data((wrap(Same()), DataLoader(TENSORS, 4)))
    assert "return iter(self.samples)" in caught.value.hint
