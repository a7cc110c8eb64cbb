"""Streams: what can only be read in sequence, as a feed from any step and as a scan."""

import random
from itertools import islice

import numpy as np
import pytest
import torch
from pictures import noise
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, Sampler, TensorDataset

from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.feeds import stream as stream_module
from torchloupe.data.feeds.stream import Stream
from torchloupe.data.sources import open_data
from torchloupe.errors import DataError, UsageError

CPU = torch.device("cpu")


class Items(IterableDataset):
    """21 images, one after the other; `wrong` makes item 7 another."""

    classes = ("a", "b", "c")

    def __init__(self, kind="pil", wrong=None, chance=False):
        self.kind, self.wrong, self.chance = kind, wrong, chance

    def __iter__(self):
        for k in range(21):
            pixels = noise(6, 7, seed=k).copy()
            if self.chance:
                pixels[0, 0] = random.randrange(256), np.random.randint(256), torch.randint(256, ())
            image = Image.fromarray(pixels)
            if self.kind == "float":
                image = torch.from_numpy(pixels).permute(2, 0, 1) / 100
            yield (image, k % 3) if k != 7 or self.wrong is None else self.wrong(image, 1)


class Sized(Items):
    def __len__(self):
        return 21


def make_stream(source, batch_total=8, seed=5, sound=None):
    data = open_data(sound or source)
    contract = choose_contract(data)
    data.reader.loaders["train"] = source
    return Stream(data, "train", contract, batch_total, seed, CPU), contract


def same(first, second):
    return torch.equal(first.images, second.images) and torch.equal(first.labels, second.labels)


def test_stream_gives_items_in_batches_and_the_small_last_one():
    stream, contract = make_stream(Items())
    for _ in range(2):
        batches = list(stream)
        assert [len(batch) for batch in batches] == [8, 8, 5]
        assert np.concatenate([batch.rows for batch in batches]).tolist() == list(range(21))
        assert torch.cat([batch.labels for batch in batches]).tolist() == [k % 3 for k in range(21)]
        images = torch.from_numpy(np.stack([noise(6, 7, seed=k) for k in range(21)]))
        assert torch.equal(torch.cat([b.images for b in batches]), contract.normalise(images))


def test_stream_takes_float_tensors_as_given():
    (batch,) = make_stream(Items("float"), 100)[0]
    assert torch.equal(batch.images, torch.stack([image for image, _ in Items("float")]))


@pytest.mark.parametrize("kind", [Items, Sized])
def test_stream_feeds_pass_after_pass_from_any_step(kind):
    walked = list(islice(make_stream(kind(chance=True))[0].batches(), 8))
    assert [batch.epoch for batch in walked] == [0, 0, 0, 1, 1, 1, 2, 2]
    assert not torch.equal(walked[0].images, walked[3].images)
    for start in (0, 2, 3, 7):
        stream, _ = make_stream(kind(chance=True))
        assert stream.steps_per_epoch == 3
        found = list(islice(stream.batches(start), 8 - start))
        assert all(same(a, b) for a, b in zip(found, walked[start:], strict=True))
    other = next(make_stream(kind(chance=True), seed=6)[0].batches())
    assert not torch.equal(other.images, walked[0].images)


def test_stream_takes_the_batches_of_a_dataloader_as_they_come():
    dataset = TensorDataset(torch.rand(21, 3, 6, 7), torch.arange(21) % 3)
    order = RandomSampler(dataset, num_samples=20)
    loader = DataLoader(dataset, batch_size=4, sampler=order, drop_last=True)
    stream, _ = make_stream(loader, batch_total=99)
    assert stream.steps_per_epoch == 5
    walked = list(islice(stream.batches(), 12))
    assert {len(batch) for batch in walked} == {4}
    assert not torch.equal(walked[0].labels, walked[5].labels)  # shuffled anew in each pass
    again = list(islice(make_stream(loader, 99)[0].batches(7), 5))
    assert all(same(a, b) for a, b in zip(again, walked[7:], strict=True))
    for batch in walked[:5]:
        for image, label in zip(batch.images, batch.labels, strict=True):
            row = (dataset.tensors[0] == image).all((1, 2, 3)).nonzero().item()
            assert row % 3 == label


def test_stream_leaves_the_generators_of_the_process_alone():
    stream, _ = make_stream(Items(chance=True))
    torch.manual_seed(1), random.seed(2), np.random.seed(3)
    wanted = torch.rand(2).tolist(), random.random(), np.random.rand()
    torch.manual_seed(1), random.seed(2), np.random.seed(3)
    list(islice(stream.batches(), 5))
    assert (torch.rand(2).tolist(), random.random(), np.random.rand()) == wanted


def raising(image, label):
    raise ValueError("disk on fire")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (raising, "the stream failed after sample 7: ValueError: disk on fire"),
        (lambda i, y: i, "sample 7 of the stream is a Image; wanted"),
        (lambda i, y: (i, 3), "sample 7 of the stream has label 3; there are 3 classes"),
        (lambda i, y: (i, -1), "sample 7 of the stream has label -1; there are 3 classes"),
        (lambda i, y: (i, "x"), "sample 7 of the stream has label x; there are 3 classes"),
        (lambda i, y: (torch.rand(3, 6, 7), y), "sample 7 of the stream: pixels of type float32"),
        (lambda i, y: (None, y), "sample 7 of the stream: "),
    ],
)
def test_stream_names_the_sample_that_is_wrong(wrong, message):
    stream, _ = make_stream(Items(wrong=wrong), sound=Items())
    with pytest.raises(DataError, match=message):
        list(stream)


def test_stream_that_can_be_read_only_once_is_refused():
    once = iter(list(Items("float")))
    stream, _ = make_stream(once, 50, sound=Items("float"))
    with pytest.raises(DataError, match="the stream gave nothing in pass 2"):
        list(islice(stream.batches(), 2))


def test_stream_has_only_the_parts_it_was_given():
    data = open_data(Items())
    with pytest.raises(UsageError, match="the data has no test part"):
        Stream(data, "test", choose_contract(data), 8, 0, CPU)


def test_stream_takes_one_hot_labels_as_class_numbers_and_mixed_ones_as_they_are():
    class Labelled(Items):
        def __iter__(self):
            for k, (image, _) in enumerate(super().__iter__()):
                yield image, torch.eye(3)[k % 3] if k < 9 else torch.tensor([0.5, 0.5, 0.0])

    first, second, _ = list(make_stream(Labelled())[0])
    assert first.labels.tolist() == [k % 3 for k in range(8)]
    assert second.labels.tolist() == [[0.0, 0.0, 1.0], *[[0.5, 0.5, 0.0]] * 7]


class Unsized(Sampler):
    """A sampler that doesn't say how many rows it gives."""

    def __init__(self):
        super().__init__()

    def __iter__(self):
        return iter(range(20, -1, -1))


@pytest.mark.parametrize("kind", ["dataset", "sampler"])
def test_stream_of_a_loader_without_length_is_surveyed_and_read(kind):
    rows = TensorDataset(torch.zeros(21, 3, 4, 4), torch.arange(21) % 3)
    rows.classes = ("a", "b", "c")
    loader = DataLoader(Items(kind="float"), 8, collate_fn=stack)
    if kind == "sampler":
        loader = DataLoader(rows, 8, sampler=Unsized())
    stream, _ = make_stream(loader)
    assert stream.steps_per_epoch == 3
    assert [len(batch) for batch in stream] == [8, 8, 5]


def stack(pairs):
    return torch.stack([image for image, _ in pairs]), torch.tensor([k for _, k in pairs])


def test_a_stream_without_an_end_is_refused_after_some_time(monkeypatch):
    class Endless(Items):
        def __iter__(self):
            while True:
                yield from super().__iter__()

    monkeypatch.setattr(stream_module, "COUNTED_SECONDS", 0.05)
    stream, _ = make_stream(Endless())
    with pytest.raises(UsageError, match=r"has no length and goes on after .* samples") as caught:
        _ = stream.steps_per_epoch
    assert "__len__" in caught.value.hint


def test_a_stream_that_gives_nothing_is_an_error_of_two_lines():
    stream, _ = make_stream([], sound=Items("float"))
    with pytest.raises(DataError, match="the train stream gives nothing, or nothing more"):
        next(iter(stream))
