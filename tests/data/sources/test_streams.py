"""Streams: what is kept as it is, what is taken apart, and how classes are counted."""

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, WeightedRandomSampler

from torchloupe.data.sources import open_data
from torchloupe.errors import DataError, LoupeError, UsageError

TENSORS = TensorDataset(torch.zeros(12, 1, 4, 4), torch.arange(12) % 3)


class Endless(IterableDataset):
    """Counts up; `length` and `classes` only where they are given."""

    def __init__(self, stop=10, **attributes):
        self.stop = stop
        for name, value in attributes.items():
            setattr(self, name, value)

    def __iter__(self):
        for k in range(self.stop):
            yield torch.full((1, 4, 4), float(k)), k % 4


class Sized(Endless):
    def __len__(self):
        return self.stop


def fail(source, **options):
    with pytest.raises(LoupeError) as caught:
        open_data(source, **options)
    return caught.value


def test_streams_keep_the_loaders_themselves():
    train, val = Endless(classes=["a", "b", "c", "d"]), Endless(classes=["a", "b", "c", "d"])
    data = open_data((train, val))
    assert (data.name, data.kind, data.given) == ("Endless", "stream", None)
    assert data.reader.loaders == {"train": train, "val": val}
    assert data.samples.class_names == ("a", "b", "c", "d")
    assert len(data.samples) == 0
    with pytest.raises(DataError, match="a stream can't be read at row 0"):
        data.reader.read(0)


def test_streams_count_classes_by_reading_once_when_they_have_a_length():
    data = open_data(Sized())
    assert data.samples.class_names == ("0", "1", "2", "3")
    assert data.notes == (
        "the stream was read once to count its classes; class_names=(...) saves that",
    )
    loader = DataLoader(Sized(), batch_size=3)
    assert open_data(loader).samples.class_names == ("0", "1", "2", "3")


def test_streams_without_length_or_names_are_refused():
    error = fail(Endless())
    assert isinstance(error, UsageError)
    assert error.message == "the stream doesn't say how many classes it has"
    assert open_data(Endless(), class_names=("a", "b")).kind == "stream"


@pytest.mark.parametrize("shuffle", [True, False])
def test_loaders_that_only_batch_are_taken_apart(shuffle):
    train = DataLoader(TENSORS, batch_size=5, shuffle=True, num_workers=0)
    val = DataLoader(TENSORS, batch_size=7, shuffle=shuffle)
    data = open_data((train, val))
    assert (data.name, data.kind) == ("TensorDataset", "dataset")
    assert data.given.tolist() == [0] * 12 + [1] * 12
    assert data.reader.batch_total == 5
    single = open_data(DataLoader(TENSORS, batch_size=5, shuffle=True, num_workers=2))
    assert single.given is None
    assert single.reader.dataset is TENSORS
    assert single.reader.workers == 2


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shuffle": True, "drop_last": True},
        {"shuffle": True, "collate_fn": lambda items: items},
        {"shuffle": True, "generator": torch.Generator()},
        {"sampler": WeightedRandomSampler([1.0] * 12, 12)},
        {"batch_sampler": [[0, 1], [2, 3]]},
        {"sampler": [3, 2, 1]},
    ],
)
def test_loaders_with_ways_of_their_own_stay_as_they_are(options):
    if "batch_sampler" not in options:
        options = {"batch_size": 4, **options}
    loader = DataLoader(TENSORS, **options)
    data = open_data(loader)
    assert data.kind == "stream"
    assert data.reader.loaders == {"train": loader}
    assert data.samples.class_names == ("0", "1", "2")  # told by the dataset, not by reading
    assert data.notes == ()


def test_loaders_over_unknown_labels_stay_as_they_are():
    class Plain(list):
        pass

    items = Plain((torch.zeros(1, 4, 4), k % 2) for k in range(6))
    loader = DataLoader([{"image": 1}] * 6, batch_size=2, shuffle=True)
    assert open_data(DataLoader(items, batch_size=2, shuffle=True)).kind == "dataset"
    assert fail(loader).message == "the stream gives a dict; wanted (image, label)"


def test_streams_of_mixed_kinds_are_streams():
    loader = DataLoader(TENSORS, batch_size=4)
    data = open_data((loader, TENSORS))
    assert data.kind == "stream"
    assert data.reader.loaders == {"train": loader, "val": TENSORS}


def test_streams_must_name_classes_alike():
    error = fail((Endless(classes=["a", "b"]), Endless(classes=["b", "a"])))
    assert error.message == (
        "the splits name their classes differently: train 'a', 'b'; val 'b', 'a'"
    )


def test_streams_with_odd_labels_ask_for_names():
    class Odd(Sized):
        def __iter__(self):
            yield torch.zeros(1, 4, 4), "cat"

    assert "labels are of type" in fail(Odd()).message
    assert fail(Sized(0)).message == "the stream gives no samples"
