"""Labels of streams: numbers, rows, several labels an image; and the length that a stream says."""

import itertools

import numpy as np
import pytest
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)

from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.feeds.stream import Stream
from torchloupe.data.sources import open_data
from torchloupe.errors import DataError

CPU = torch.device("cpu")
IMAGES = torch.rand(12, 1, 4, 4)
NUMBERS = torch.arange(12) % 4
SEVERAL = torch.stack([NUMBERS % 2 == 0, NUMBERS > 1, NUMBERS == 3], 1).float()
NOTE = "an image may have several of the 3 labels: this is multi-label"


class Given(IterableDataset):
    """Images and labels one by one, with `attributes` such as class names."""

    def __init__(self, labels, **attributes):
        self.labels = labels
        vars(self).update(attributes)

    def __iter__(self):
        yield from zip(IMAGES, self.labels, strict=True)


class Sized(Given):
    def __len__(self):
        return len(self.labels)


class Rows(Dataset):
    """The same by row; it doesn't tell its labels."""

    def __len__(self):
        return len(SEVERAL)

    def __getitem__(self, row):
        return IMAGES[row], SEVERAL[row]


def as_usual(pairs):
    return default_collate(pairs)


def levels(pairs):
    images, labels = default_collate(pairs)
    return images, (labels[:, None] > torch.arange(3)).float()


def mixed(pairs):
    images, labels = default_collate(pairs)
    rows = torch.nn.functional.one_hot(labels, 4).float()
    return images, 0.7 * rows + 0.3 * rows.flip(0)


def read(data):
    stream = Stream(data, "train", choose_contract(data), 4, 0, CPU)
    return [batch.labels for batch in itertools.islice(stream.batches(), 3)]


TENSORS = TensorDataset(IMAGES, SEVERAL)
NAMES = ("a", "b", "c")
LATE = torch.cat([torch.eye(3)[NUMBERS[:11] % 3], torch.ones(1, 3)])


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(TENSORS, 4),
        DataLoader(TensorDataset(IMAGES, SEVERAL.long()), 4),
        DataLoader(TENSORS, 4, sampler=WeightedRandomSampler([1.0] * 12, 12)),
        DataLoader(TENSORS, 4, collate_fn=as_usual),
        DataLoader(Rows(), 4),
        DataLoader(Given(SEVERAL), 4),
        DataLoader(Given(SEVERAL.bool(), classes=NAMES), 4),
        Given(SEVERAL.long(), classes=NAMES),
        Given(LATE, classes=NAMES),
        DataLoader(TensorDataset(IMAGES, NUMBERS), 4, collate_fn=levels),
    ],
)
def test_rows_that_do_not_sum_to_1_are_several_labels(loader):
    data = open_data(loader)
    assert data.samples.is_multi_label
    assert NOTE in data.notes
    assert choose_contract(data).multi_label
    assert {tuple(labels.shape) for labels in read(data)} == {(4, 3)}


@pytest.mark.parametrize(
    ("loader", "width"),
    [
        (DataLoader(TensorDataset(IMAGES, NUMBERS), 4, collate_fn=mixed), 4),
        (Given(torch.eye(3)[NUMBERS % 3], classes=NAMES), 0),
        (Given([10 * torch.eye(3)[k % 3] - 5 for k in range(12)], classes=NAMES), 3),  # a teacher's
        (DataLoader(Given(NUMBERS.float()[:, None], classes=tuple("abcd")), 4), 0),
        (DataLoader(Given(NUMBERS.double(), classes=tuple("abcd")), 4), 0),
    ],
)
def test_soft_and_one_hot_rows_stay_labels_of_one_class(loader, width):
    data = open_data(loader)
    assert not data.samples.is_multi_label
    shapes = {tuple(labels.shape) for labels in read(data)}
    assert shapes == {(4, width) if width else (4,)}


@pytest.mark.parametrize("val", [Given(SEVERAL), TENSORS, DataLoader(TENSORS, 5)])
def test_several_labels_in_another_split_tell_what_one_hot_rows_of_train_are(val):
    data = open_data((Given(torch.eye(3)[NUMBERS % 3], classes=NAMES), val))
    assert data.samples.is_multi_label
    soft = DataLoader(TensorDataset(IMAGES, NUMBERS), 4, collate_fn=mixed)
    assert not open_data((soft, TensorDataset(IMAGES, NUMBERS))).samples.is_multi_label


def test_several_labels_after_labels_of_one_are_refused_while_training():
    data = open_data(Given(torch.eye(3)[NUMBERS % 3], classes=NAMES))
    contract = choose_contract(data)
    data.reader.loaders["train"] = Given(LATE)
    with pytest.raises(DataError, match=r"sample 11 of the stream has label .*doesn't sum to 1"):
        list(Stream(data, "train", contract, 4, 0, CPU))


def test_a_class_number_among_several_labels_is_refused():
    data = open_data(Given(SEVERAL, classes=NAMES))
    data.reader.loaders["train"] = Given(NUMBERS % 3)
    with pytest.raises(DataError, match="label 0; an image may have several of the 3 labels"):
        list(Stream(data, "train", choose_contract(data), 4, 0, CPU))


def test_labels_of_no_form_are_refused_with_the_next_step():
    class Pairs(Given):
        def __iter__(self):
            for images, labels in DataLoader(TensorDataset(IMAGES, NUMBERS), 4):
                yield images, (labels, labels.flip(0), 0.7)

    with pytest.raises(DataError, match="a tuple of 3, as MixUp gives them") as caught:
        open_data(Pairs([], classes=tuple("abcd")))
    assert "one_hot(a, K)" in caught.value.hint


class Says:
    """Three batches, and a length."""

    def __init__(self, length, **attributes):
        self.length = length
        vars(self).update(attributes)

    def __len__(self):
        return self.length

    def __iter__(self):
        for start in (0, 4, 8):
            yield IMAGES[start : start + 4], NUMBERS[start : start + 4]


class Endless(Says):
    def __iter__(self):
        while True:
            yield from super().__iter__()


@pytest.mark.parametrize("names", [{}, {"classes": tuple("abcd")}])
@pytest.mark.parametrize("length", [1, 3, 200])
def test_an_epoch_is_what_a_stream_gives_and_not_what_its_length_says(length, names):
    data = open_data(Says(length, **names))
    told = [note for note in data.notes if "its length says" in note]
    assert bool(told) == (length != 3)
    assert all(f"gives 3 batches a pass, and its length says {length}:" in note for note in told)
    assert Stream(data, "train", choose_contract(data), 4, 0, CPU).steps_per_epoch == 3


def test_the_length_of_a_stream_without_end_is_kept():
    data = open_data(Endless(5))
    assert any("first 4,020 samples of the stream were read" in note for note in data.notes)
    assert Stream(data, "train", choose_contract(data), 4, 0, CPU).steps_per_epoch == 5


def test_a_pass_far_shorter_than_its_length_is_refused():
    data = open_data(Says(3, classes=tuple("abcd")))
    data.reader.counts.clear()
    data.reader.loaders["train"] = Says(30)
    stream = Stream(data, "train", choose_contract(data), 4, 0, CPU)
    assert stream.steps_per_epoch == 30
    with pytest.raises(DataError, match="a pass of the stream has 3 batches, and its length says"):
        list(itertools.islice(stream.batches(), 4))


def test_reading_labels_uses_up_no_random_numbers():
    torch.manual_seed(3), np.random.seed(4)
    wanted = torch.rand(2).tolist(), np.random.rand()
    torch.manual_seed(3), np.random.seed(4)
    open_data(DataLoader(TENSORS, 4, sampler=WeightedRandomSampler([1.0] * 12, 12)))
    assert (torch.rand(2).tolist(), np.random.rand()) == wanted


def test_a_tuple_of_four_that_mixup_makes_is_refused_and_other_long_ones_are_noted():
    class Batches(Given):
        def __iter__(self):
            for images, labels in DataLoader(TensorDataset(IMAGES, NUMBERS), 4):
                yield images, labels, *self.labels

    with pytest.raises(DataError, match="a tuple of 3, as MixUp gives them"):
        open_data(Batches((torch.zeros(4).long(), 0.7), classes=tuple("abcd")))
    data = open_data(Batches((["a", "b", "c", "d"],), classes=tuple("abcd")))
    assert any("items hold 3 values" in note for note in data.notes)


@pytest.mark.parametrize("known", [True, False])
def test_a_mark_of_what_the_loss_ignores_is_no_class(known):
    labels = torch.where(NUMBERS == 3, 255, NUMBERS)
    source = DataLoader(TensorDataset(IMAGES, labels), 4)
    if not known:
        source = DataLoader(Sized(labels), 4)
    with pytest.raises(DataError, match="the stream's labels are 0 to 2 and 255") as caught:
        open_data(source)
    assert "leave these samples out: label != 255" in caught.value.hint
    below = open_data(DataLoader(Given(labels.where(labels < 9, -100), classes=("a", "b", "c")), 4))
    with pytest.raises(DataError, match="label -100") as caught:
        read(below)
    assert "labels != -100" in caught.value.hint
