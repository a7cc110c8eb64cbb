"""Streams whose workers each give everything: refused, or a note where chance decides."""

import random

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.feeds.stream import Stream
from torchloupe.data.sources import open_data
from torchloupe.errors import DataError

HINT = (
    "in __iter__ give each worker its part: info = torch.utils.data.get_worker_info(), and then "
    "every info.num_workers-th sample from info.id on; or use num_workers=1"
)


class Counting(IterableDataset):
    """Images of one number each, changed at random, the labels 0 to 3 in turn."""

    classes = ("a", "b", "c", "d")

    def __init__(self, divides=False, shuffles=False, noise=0.0, count=48):
        self.divides, self.shuffles, self.noise, self.count = divides, shuffles, noise, count
        self.start, self.step = 0, 1

    def __iter__(self):
        info = get_worker_info()
        first, step = (info.id, info.num_workers) if info and self.divides else (0, 1)
        numbers = list(range(first + self.start, self.count, max(step, self.step)))
        if self.shuffles:
            random.shuffle(numbers)
        for k in numbers:
            yield torch.full((1, 4, 4), k / 50) + self.noise * torch.rand(1, 4, 4), k % 4


class Sized(Counting):
    def __len__(self):
        return self.count


def divide(worker):
    """A worker_init_fn as in torch's own documentation: it changes the dataset."""
    info = get_worker_info()
    info.dataset.start, info.dataset.step = info.id, info.num_workers


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_workers_that_each_give_everything_are_refused(noise):
    with pytest.raises(DataError) as caught:
        open_data(DataLoader(Counting(noise=noise), batch_size=4, num_workers=2))
    assert caught.value.message == (
        "each of the 2 workers of the stream gives all samples: an epoch has every sample 2 times"
    )
    assert caught.value.hint == HINT
    good = DataLoader(Counting(divides=True), batch_size=4, num_workers=2)
    bad = DataLoader(Counting(noise=noise), batch_size=4, num_workers=2)
    with pytest.raises(DataError, match="each of the 2 workers of the val stream gives all"):
        open_data((good, bad))


@pytest.mark.parametrize(
    ("dataset", "options"),
    [
        (Counting(divides=True, noise=0.1), {"num_workers": 2}),
        (Counting(), {"num_workers": 1}),
        (Counting(), {"num_workers": 0}),
        (Counting(), {"num_workers": 2, "worker_init_fn": divide}),
        (Counting(count=0), {"num_workers": 2}),
    ],
)
def test_workers_that_divide_the_stream_are_taken(dataset, options):
    loader = DataLoader(dataset, batch_size=4, **options)
    assert open_data((loader, loader)).notes == ()


def test_workers_that_draw_at_random_are_a_note():
    loader = DataLoader(Counting(shuffles=True), batch_size=4, num_workers=2)
    assert open_data((loader, loader)).notes[0] == (
        "the 2 workers of the train stream give the same samples where they draw the same random "
        "numbers; unless it picks samples at random without end, divide them by "
        "torch.utils.data.get_worker_info()"
    )


@pytest.mark.filterwarnings("ignore:Length of IterableDataset")
def test_stream_is_refused_where_workers_give_more_than_its_length():
    loader = DataLoader(Sized(shuffles=True), batch_size=4, num_workers=2)
    data = open_data((loader, loader))
    stream = Stream(data, "train", choose_contract(data), 4, 0, torch.device("cpu"))
    with pytest.raises(DataError) as caught:
        list(stream)
    assert caught.value.message == (
        "the stream says it has 48 samples, and its 2 workers gave more in one pass: each seems "
        "to give all of them"
    )
    assert caught.value.hint == HINT
