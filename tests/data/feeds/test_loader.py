"""A user's own Dataset through a DataLoader: exact order, its chance tied down, errors by row."""

import os
import random
import signal
import time
from contextlib import contextmanager
from itertools import islice

import numpy as np
import pytest
import torch
from pictures import noise
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from torchloupe.data.augmentation.augment import Augment
from torchloupe.data.contract import Contract
from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.feeds import heartbeats, loader
from torchloupe.data.feeds.items import Items, LabelCheck, stack_images
from torchloupe.data.feeds.loader import LoaderFeed, LoaderScan
from torchloupe.data.feeds.order import Order
from torchloupe.data.samples import Samples
from torchloupe.data.sources import open_data
from torchloupe.data.sources.dataset_labels import has_no_randomness
from torchloupe.data.sources.source import Data
from torchloupe.errors import DataError, ResourceError, UsageError

CPU = torch.device("cpu")
ROWS = np.arange(2, 23)


class Pictures(Dataset):
    """24 images of one kind; what is wrong with row 7 can be chosen."""

    def __init__(self, kind="pil", wrong=None, chance=False):
        self.kind = kind
        self.wrong = wrong
        self.chance = chance
        self.targets = [k % 3 for k in range(24)]
        self.classes = ["a", "b", "c"]

    def __len__(self):
        return 24

    def __getitem__(self, row):
        image, label = self.image(row), row % 3
        if row == 7 and self.wrong is not None:
            return self.wrong(image, label)
        return image, label

    def image(self, row):
        pixels = noise(8, 9, seed=row)
        if self.chance:
            pixels = pixels.copy()
            pixels[0, 0] = [random.randrange(256), np.random.randint(256), torch.randint(256, ())]
        if self.kind == "pil":
            return Image.fromarray(pixels)
        if self.kind == "array":
            return pixels
        if self.kind == "uint8 tensor":
            return torch.from_numpy(pixels.copy()).permute(2, 0, 1)
        made = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float()
        return made / 100 if self.kind == "float tensor" else made.permute(1, 2, 0).numpy() / 100


def opened(dataset):
    """Data over a dataset as sources make it, without asking the dataset for row 7."""
    sound = Pictures(dataset.kind) if isinstance(dataset, Pictures) else dataset
    data = open_data(sound)
    data.reader.dataset = dataset
    return data, choose_contract(open_data(sound))


def make_feed(dataset, workers=0, batch_total=8, **options):
    data, contract = opened(dataset)
    return LoaderFeed(data, ROWS, contract, batch_total, 5, CPU, workers, **options)


def same(first, second):
    return (
        torch.equal(first.images, second.images)
        and torch.equal(first.labels, second.labels)
        and (first.rows == second.rows).all()
        and first.epoch == second.epoch
    )


@pytest.mark.parametrize("kind", ["pil", "array", "uint8 tensor"])
def test_loader_brings_uint8_images_through_the_contract(kind):
    data, contract = opened(Pictures(kind))
    assert contract.mean and contract.dtype == "uint8"
    feed = LoaderFeed(data, ROWS, contract, 8, 5, CPU)
    assert (feed.steps_per_epoch, feed.count) == (3, 21)
    for step, batch in enumerate(islice(feed.batches(), 6)):
        assert (batch.rows == Order(ROWS, data.samples.keys, 8, 5).batch(step)).all()
        assert batch.epoch == step // 3
        assert batch.labels.tolist() == (batch.rows % 3).tolist()
        images = np.stack([noise(8, 9, seed=int(row)) for row in batch.rows])
        assert torch.equal(batch.images, contract.normalise(torch.from_numpy(images)))


@pytest.mark.parametrize("kind", ["float tensor", "float array"])
def test_loader_takes_float_images_exactly_as_given(kind):
    dataset = Pictures(kind)
    batch = next(make_feed(dataset).batches())
    wanted = torch.stack([Pictures("float tensor")[int(row)][0] for row in batch.rows])
    assert torch.equal(batch.images, wanted) and batch.images.is_contiguous()


def test_loader_gives_a_2d_tensor_a_channel():
    dataset = TensorDataset(torch.rand(24, 6, 7), torch.arange(24) % 3)
    batch = next(make_feed(dataset).batches())
    assert torch.equal(batch.images, dataset.tensors[0][torch.from_numpy(batch.rows)][:, None])


def test_loader_fits_images_of_different_sizes():
    items = [(Image.fromarray(noise(20 + k, 40, seed=k)), k % 2) for k in range(10)]
    data = open_data(items)
    contract = choose_contract(data, size="16")
    for batch in LoaderScan(data, np.arange(10), contract, 4, CPU):
        assert batch.images.shape[1:] == (3, 16, 16)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["pil", "float tensor"])
def test_loader_gives_the_same_batches_from_any_step_and_any_workers(kind, workers):
    walked = list(islice(make_feed(Pictures(kind, chance=True)).batches(), 8))
    for start in (0, 4):
        feed = make_feed(Pictures(kind, chance=True), workers)
        found = list(islice(feed.batches(start), 8 - start))
        assert all(same(a, b) for a, b in zip(found, walked[start:], strict=True))
    assert not torch.equal(walked[0].images[:1], walked[3].images[:1])


def test_loader_draws_chance_by_sample_and_epoch_only():
    by_row = {}
    for batch_total in (4, 7):
        feed = make_feed(Pictures(chance=True), batch_total=batch_total)
        for batch in islice(feed.batches(), 12):
            for image, row in zip(batch.images, batch.rows, strict=True):
                known = by_row.setdefault((int(row), batch.epoch), image)
                assert torch.equal(known, image)
    assert len({tuple(image[:, 0, 0].tolist()) for image in by_row.values()}) > 40


def test_loader_leaves_the_generators_of_the_process_alone():
    def seed():
        torch.manual_seed(1), random.seed(2), np.random.seed(3)

    def draw():
        return torch.rand(2).tolist(), random.random(), np.random.rand()

    plain = TensorDataset(torch.zeros(24, 6, 7), torch.arange(24) % 3)
    for dataset in (Pictures(chance=True), plain):
        feed = make_feed(dataset)
        seed()
        wanted = draw()
        seed()
        list(islice(feed.batches(), 5))
        assert draw() == wanted


def test_loader_knows_which_datasets_draw_nothing():
    tensors = TensorDataset(torch.zeros(4, 2, 2), torch.zeros(4))
    assert has_no_randomness(Subset(ConcatDataset([tensors, tensors]), [0, 5]))
    assert has_no_randomness([(1, 2)])
    assert not has_no_randomness(ConcatDataset([tensors, Pictures()]))

    class Own(TensorDataset):
        pass

    assert not has_no_randomness(Own(torch.zeros(4)))


def raising(image, label):
    raise ValueError("disk\x1b[31m on fire")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        ("pil", raising, r"row 7 can't be read: ValueError: disk\\x1b\[31m on fire"),
        ("pil", lambda i, y: (i, i, y), r"row 7 is a tuple of 3; wanted a pair \(image, label\)"),
        ("pil", lambda i, y: i, "row 7 is a Image; wanted a pair"),
        ("pil", lambda i, y: (None, y), "row 7: "),
        ("pil", lambda i, y: (np.zeros((2, 3, 4, 5), np.uint8), y), "row 7: an image of shape"),
        ("pil", lambda i, y: (torch.rand(3, 8, 9), y), "row 7: pixels of type float32"),
        ("pil", lambda i, y: (i, 2), r"labels differ .*\b7\b.* when the dataset was opened"),
        ("pil", lambda i, y: (i, 99), r"labels differ .*row 7 .*label 99\b.* had class 1 when"),
        ("pil", lambda i, y: (i, "dog"), "row 7 has label dog, and class 1"),
        ("pil", lambda i, y: (i, 0.5), "row 7 has label 0.5, and class 1"),
        (
            "float tensor",
            lambda i, y: (i[:, :5], y),
            "row 7: an image of 5x9 pixels with 3 channels; wanted 8x9 pixels with 3 channels",
        ),
        ("float tensor", lambda i, y: (i[:1], y), "row 7: an image of 8x9 pixels with 1 channel;"),
    ],
)
def test_loader_names_the_row_of_a_bad_item(kind, wrong, message, workers):
    feed = make_feed(Pictures(kind, wrong), workers)
    with pytest.raises(DataError, match=message) as caught:
        list(islice(feed.batches(), 3))
    assert caught.value.hint
    data, contract = opened(Pictures(kind, wrong))
    with pytest.raises(DataError, match=message):
        list(LoaderScan(data, ROWS, contract, 50, CPU, workers))


def test_a_row_that_gives_the_item_of_another_is_told_what_to_do():
    feed = make_feed(Pictures("pil", lambda image, label: (image, 2)), 0)
    with pytest.raises(DataError, match="labels differ") as caught:
        list(islice(feed.batches(), 3))
    assert "leave such rows out instead: Subset(dataset, sound_rows)" in caught.value.hint


@pytest.mark.parametrize(
    ("classes", "labels", "told"),
    [
        ([1, 0, 2], (0, 0, 1), "rows 0 and 1 have label 0, and had the classes 1 and 0 when"),
        ([1, 0, 0], (0, 1, 2), "row 1 has label 1 and row 2 label 2, and both had class 0 when"),
    ],
)
def test_rows_whose_labels_contradict_each_other_are_both_named(classes, labels, told):
    check = LabelCheck(np.array(classes))
    with pytest.raises(DataError, match=told):
        check.check(Items(np.arange(3), 0, np.zeros(0), labels))


def test_dark_images_of_16_bits_stay_values_among_floats():
    contract = Contract("L", 1, (2, 2), dtype="float32", value_high=60_000.0)
    dark, bright = (np.full((2, 2), value, np.uint16) for value in (200, 50_000))
    assert stack_images([dark, bright], contract, ["a", "b"]).max((1, 2, 3)).tolist() == [
        200,
        50_000,
    ]
    with pytest.raises(DataError, match=r"a: .*how these were made of images is not known"):
        stack_images([dark.astype(np.uint8)], contract, ["a"])


def test_loader_follows_classes_that_were_renumbered_by_name():
    data, contract = opened(Pictures())
    turned = (data.samples.labels + 1) % 3
    samples = Samples(data.samples.ids, turned, ("c", "a", "b"))
    data = Data("x", "dataset", samples, None, data.reader)
    for batch in LoaderScan(data, ROWS, contract, 4, CPU):
        assert batch.labels.tolist() == ((batch.rows + 1) % 3).tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_scan_gives_every_sample_once_in_order_and_again_when_asked_again(workers):
    data, contract = opened(Pictures("array"))
    rows = np.array([9, 2, 20, 21, 5])
    scan = LoaderScan(data, rows, contract, 2, CPU, workers)
    assert scan.count == 5
    for _ in range(2):
        batches = list(scan)
        assert np.concatenate([batch.rows for batch in batches]).tolist() == rows.tolist()
        assert torch.cat([batch.labels for batch in batches]).tolist() == (rows % 3).tolist()


def test_loader_augments_only_when_asked():
    plain = next(make_feed(Pictures()).batches())
    mixed = next(make_feed(Pictures(), augment=Augment(mixup=0.5)).batches())
    assert plain.labels.dtype == torch.int64
    assert mixed.labels.shape == (8, 3)
    assert not torch.equal(plain.images, mixed.images)


def test_loader_changes_colours_of_pixels_and_refuses_those_of_floats():
    colours = Augment(brightness=0.5, contrast=0.5)
    plain, changed = (next(make_feed(Pictures(), augment=a).batches()) for a in (None, colours))
    assert not torch.equal(plain.images, changed.images)
    floats = TensorDataset(torch.rand(24, 3, 6, 7), torch.arange(24) % 3)
    with pytest.raises(UsageError, match="floats of its own scale"):
        make_feed(floats, augment=colours)


def test_loader_gives_several_labels_an_image():
    dataset = TensorDataset(torch.rand(24, 6, 7), (torch.rand(24, 3) > 0.5).float())
    batch = next(make_feed(dataset).batches())
    assert torch.equal(batch.labels, dataset.tensors[1][torch.from_numpy(batch.rows)])


def die(image, label):
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def start_method(name):
    """Worker processes started in another way: as on macOS and Windows, or by Python 3.14."""
    before = torch.multiprocessing.get_start_method(allow_none=True)
    torch.multiprocessing.set_start_method(name, force=True)
    try:
        yield
    finally:
        torch.multiprocessing.set_start_method(before, force=True)


@pytest.fixture
def short_waits(monkeypatch):
    """The end of a worker is noticed within a second, and a worker that hangs is left after one."""
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 1)
    for module in (heartbeats, loader):
        monkeypatch.setattr(module, "POLL_SECONDS", 1)


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_loader_names_a_worker_that_died(short_waits, method):
    feed = make_feed(Pictures(wrong=die), workers=1)
    start = time.monotonic()
    with start_method(method), pytest.raises(ResourceError) as caught:
        list(islice(feed.batches(), 3))
    assert "a worker process of the Dataset died: " in caught.value.message
    assert "fewer workers" in caught.value.hint
    assert time.monotonic() - start < 120


def hang(image, label):
    signal.pause()


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(("hung", "poll"), [pytest.param(25, 5, marks=pytest.mark.slow), (3, 1)])
def test_loader_does_not_wait_for_a_worker_that_hangs(short_waits, monkeypatch, hung, poll):
    monkeypatch.setattr(heartbeats, "HUNG_SECONDS", hung)
    for module in (heartbeats, loader):
        monkeypatch.setattr(module, "POLL_SECONDS", poll)
    feed = make_feed(Pictures(wrong=hang), workers=1)
    start = time.monotonic()
    with pytest.raises(ResourceError, match=r"hangs: .*; being read: row 7\n"):
        list(islice(feed.batches(), 3))
    assert time.monotonic() - start < hung + poll + 30


class Starting(Pictures):
    """Takes a while in each new process, as one does that imports large libraries."""

    def __setstate__(self, state):
        time.sleep(4)
        self.__dict__.update(state)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_loader_waits_longer_for_workers_that_have_not_begun(short_waits, monkeypatch):
    monkeypatch.setattr(heartbeats, "HUNG_SECONDS", 2)
    with start_method("spawn"):
        assert len(list(islice(make_feed(Starting(), workers=1).batches(), 3))) == 3
    monkeypatch.setattr(heartbeats, "STARTING_SECONDS", 2)
    with start_method("spawn"), pytest.raises(ResourceError, match="being read: nothing yet"):
        list(islice(make_feed(Starting(), workers=1).batches(), 3))


class Slow(Pictures):
    """Every item takes its time."""

    def __getitem__(self, row):
        time.sleep(0.15)
        return super().__getitem__(row)


def test_loader_waits_for_a_worker_that_is_only_slow(short_waits, monkeypatch):
    monkeypatch.setattr(heartbeats, "HUNG_SECONDS", 2)
    feed = make_feed(Slow(), workers=1, batch_total=len(ROWS))
    assert len(next(feed.batches())) == len(ROWS)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_loader_sends_a_dataset_of_a_file_to_workers_of_any_kind(tmp_path, method):
    (tmp_path / "sizes.py").write_text("SIDE = 6\n")
    (tmp_path / "own.py").write_text(
        "import torch\n"
        "from sizes import SIDE\n"
        "class Squares(torch.utils.data.Dataset):\n"
        "    targets = [0, 1] * 12\n"
        "    def __len__(self):\n"
        "        return 24\n"
        "    def __getitem__(self, row):\n"
        "        return torch.full((1, SIDE, SIDE), row / 24), row % 2\n"
        "data = Squares()\n"
    )
    data = open_data(f"{tmp_path}/own.py:data")
    scan = LoaderScan(data, np.arange(24), choose_contract(data), 8, CPU, 1)
    with start_method(method):
        images = torch.cat([batch.images for batch in scan])
    assert images[:, 0, 0, 0].tolist() == pytest.approx([row / 24 for row in range(24)])


def test_loader_says_when_a_dataset_can_not_be_sent_to_workers():
    dataset = Pictures(wrong=lambda image, label: (image, label))
    data, contract = opened(dataset)
    source = LoaderScan(data, ROWS, contract, 4, CPU, 1)
    with (
        start_method("spawn"),
        pytest.raises(UsageError, match="the Dataset can't be sent to worker processes"),
    ):
        list(source)
