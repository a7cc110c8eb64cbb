"""Streams: what is kept as it is, what is taken apart, and how classes are counted."""

import itertools

import pytest
import torch
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)

from torchloupe.data.contract import Contract
from torchloupe.data.feeds.stream import Stream
from torchloupe.data.sources import open_data
from torchloupe.errors import DataError, LoupeError, UsageError

TENSORS = TensorDataset(torch.zeros(12, 1, 4, 4), torch.arange(12) % 3)


def as_usual(items):
    return default_collate(items)


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
        "the stream was read once to count its classes; data.class_names avoids that",
        "the data are a stream: nothing is split off for validation and test, and resuming reads "
        "it from the start; give (train, val, test) to have them",
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
    assert single.notes == (
        "the DataLoader keeps its batch size 5 and 2 workers; its dataset is split for validation "
        "and test like a Dataset given alone, and shuffled by train.seed",
    )


def test_loaders_are_taken_apart_with_all_that_they_ask_for():
    def start(worker):
        pass

    loader = DataLoader(
        TENSORS, 5, shuffle=True, drop_last=True, worker_init_fn=start, generator=torch.Generator()
    )
    data = open_data(loader)
    assert data.kind == "dataset"
    reader = data.reader
    assert (reader.batch_total, reader.drops_last, reader.start_worker) == (5, True, start)
    assert data.notes == (
        "the DataLoader keeps its batch size 5 and drop_last; its dataset is split for validation "
        "and test like a Dataset given alone, and shuffled by train.seed, not by its generator",
    )
    val = DataLoader(TensorDataset(*TENSORS.tensors), 5, drop_last=True)
    assert open_data((loader, val)).notes == (
        "drop_last of the val DataLoader is left out: every image of val is evaluated",
    )


def test_loaders_of_parts_of_a_dataset_are_taken_apart():
    parts = [DataLoader(TENSORS, 4, sampler=SubsetRandomSampler(r)) for r in ([5, 1, 3], [2, 0])]
    data = open_data((*parts,))
    assert data.given.tolist() == [0, 0, 0, 1, 1]
    assert data.samples.labels.tolist() == [2, 1, 0, 2, 0]
    ranks = DistributedSampler(TENSORS, num_replicas=3, rank=1)
    data = open_data(DataLoader(TENSORS, 4, sampler=ranks))
    assert (data.kind, len(data.samples), data.reader.batch_total) == ("dataset", 12, 12)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "shuffle=False"),
        (
            {"shuffle": True, "collate_fn": as_usual},
            "its own collate_fn",
        ),
        (
            {"sampler": WeightedRandomSampler([1.0] * 12, 12)},
            "its own sampler (WeightedRandomSampler)",
        ),
        (
            {"sampler": RandomSampler(TENSORS, num_samples=5)},
            "a RandomSampler with a number of samples of its own",
        ),
        ({"batch_sampler": [[0, 1], [2, 3]]}, "its own batch_sampler"),
        ({"sampler": [3, 2, 1]}, "its own sampler (list)"),
    ],
)
def test_loaders_with_ways_of_their_own_stay_as_they_are(options, reason):
    if "batch_sampler" not in options:
        options = {"batch_size": 4, **options}
    loader = DataLoader(TENSORS, **options)
    data = open_data(loader)
    assert data.kind == "stream"
    assert data.reader.loaders == {"train": loader}
    assert data.samples.class_names == ("0", "1", "2")  # from the dataset, not by reading
    assert data.reader.batch_total == (2 if "batch_sampler" in options else 4)
    assert data.notes[0].startswith(
        f"the DataLoader is used as it is, for {reason}: nothing is split off for validation and "
        "test, and resuming reads it from the start; give "
    )
    assert data.notes[0].endswith(
        "give shuffle=True, or (train, val, test) to have them"
        if reason == "shuffle=False"
        else "give (train, val, test) to have them"
    )
    assert open_data((loader, loader)).notes == ()


def test_loaders_over_unknown_labels_are_taken_apart_too():
    class Plain(list):
        pass

    items = Plain((torch.zeros(1, 4, 4), k % 2) for k in range(6))
    loader = DataLoader([{"image": 1}] * 6, batch_size=2, shuffle=True)
    assert open_data(DataLoader(items, batch_size=2, shuffle=True)).kind == "dataset"
    assert fail(loader).message == (
        "dataset: row 0 is a dict with 'image'; wanted a pair (image, label)"
    )


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
            yield torch.zeros(1, 4, 4), 0.5

    assert "labels are of type" in fail(Odd()).message
    assert fail(Sized(0)).message == "the stream gives no samples"


class Named(TensorDataset):
    """Six tensors whose class names are given."""

    def __init__(self, classes):
        super().__init__(torch.zeros(6, 1, 4, 4), torch.arange(6) % 2)
        self.classes = classes


def test_streams_refuse_joined_datasets_whose_classes_differ():
    joined = ConcatDataset([Named(["ant", "bee"]), Named(["bee", "cow"])])
    error = fail(DataLoader(joined, batch_size=4, sampler=range(12)))
    assert isinstance(error, DataError)
    assert error.message == (
        "a ConcatDataset in a DataLoader that is used as it is joins datasets whose classes differ"
    )
    data = open_data(DataLoader(joined, batch_size=4, shuffle=True))
    assert data.samples.class_names == ("ant", "bee", "cow")
    same = ConcatDataset([Named(["ant", "bee"]), Named(["ant", "bee"])])
    assert open_data(DataLoader(same, batch_size=4, sampler=range(12))).kind == "stream"


def test_streams_count_the_columns_of_one_hot_labels():
    class OneHot(Sized):
        def __iter__(self):
            return ((torch.zeros(1, 4, 4), torch.eye(3)[k % 3]) for k in range(self.stop))

    assert open_data(OneHot()).samples.class_names == ("0", "1", "2")


class Animals(Sized):
    """Labels are the names of animals."""

    def __iter__(self):
        for k in range(self.stop):
            yield {"features": torch.full((1, 4, 4), float(k)), "targets": {"name": "cd"[k % 2]}}


@pytest.mark.parametrize("given", [(), ("d", "c")])
def test_stream_of_text_labels_is_numbered_by_class_names(given):
    data = open_data(DataLoader(Animals(6), 4), class_names=given)
    names = given or ("c", "d")
    assert data.samples.class_names == names
    assert any("read once: its labels are texts, 'c', 'd'" in n for n in data.notes) == (not given)
    contract = Contract("L", 1, (4, 4), dtype="float32", value_low=0.0, value_high=9.0)
    stream = Stream(data, "train", contract, 4, 0, torch.device("cpu"))
    labels = [batch.labels.tolist() for batch in itertools.islice(stream.batches(), 2)]
    assert labels == [[names.index(name) for name in part] for part in ("cdcd", "cd")]


def test_stream_with_an_unknown_text_is_refused():
    data = open_data(Animals(4), class_names=("c", "e"))
    contract = Contract("L", 1, (4, 4), dtype="float32", value_low=0.0, value_high=9.0)
    with pytest.raises(DataError, match="sample 1 of the stream has label d; there are 2 classes"):
        next(Stream(data, "train", contract, 4, 0, torch.device("cpu")).batches())


def test_streams_say_how_classes_are_named_where_they_are_given():
    hint = fail(Endless()).hint
    assert 'settings={"data.class_names": ["a", "b"]}' in hint
    assert "class_names=" in hint
