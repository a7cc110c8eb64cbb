"""Feeds and scans over pixels: the right images and labels, from any step, in any parts."""

from itertools import islice

import numpy as np
import pytest
import torch
from pictures import encode, noise

from torchloupe.data.augmentation.augment import Augment
from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.feeds.feed import Batch, PixelFeed, PixelScan
from torchloupe.data.feeds.order import Order
from torchloupe.data.pack.pixels import open_pixels
from torchloupe.data.samples import Samples, make_ids
from torchloupe.data.sources import open_data
from torchloupe.data.sources.source import ArrayReader, Data
from torchloupe.errors import DataError, UsageError

CPU = torch.device("cpu")
ROWS = np.arange(3, 40)


@pytest.fixture
def data():
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 7, 3), np.uint8)
    labels = np.random.default_rng(1).integers(0, 4, 40)
    samples = Samples(make_ids(range(40)), labels, ("a", "b", "c", "d"))
    return Data("x", "arrays", samples, None, ArrayReader(images))


def make_feed(data, augment=None, batch_total=8, pack="auto", device=CPU):
    contract = choose_contract(data).with_statistics((0.5,) * 3, (0.25,) * 3)
    pixels = open_pixels(data, contract, pack=pack)
    feed = PixelFeed(
        pixels, data.samples, ROWS, contract, augment or Augment(), batch_total, 5, device
    )
    return feed, pixels, contract


def same(first, second):
    return (
        torch.equal(first.images, second.images)
        and torch.equal(first.labels, second.labels)
        and (first.rows == second.rows).all()
        and first.epoch == second.epoch
    )


def test_feed_gives_each_sample_once_an_epoch_with_its_image_and_label(data):
    feed, pixels, contract = make_feed(data)
    assert feed.steps_per_epoch == 5 and feed.count == 37
    for epoch in range(2):
        batches = list(islice(feed.batches(epoch * 5), 5))
        assert [len(batch) for batch in batches] == [8, 8, 8, 8, 5]
        assert sorted(np.concatenate([batch.rows for batch in batches])) == ROWS.tolist()
        for batch in batches:
            assert batch.epoch == epoch
            assert batch.labels.dtype == torch.int64
            assert batch.labels.tolist() == data.samples.labels[batch.rows].tolist()
            assert torch.equal(batch.images, contract.normalise(pixels.gather(batch.rows)))
            assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_feed_tells_its_augmentation_what_black_and_white_are(data):
    augment = Augment(brightness=0.5, policy="trivialaugment", saturation=0.5)
    feed, pixels, contract = make_feed(data, augment)
    batch = next(feed.batches())
    low, high = contract.limits(CPU)
    assert low.tolist() == [-2.0] * 3 and high.tolist() == [2.0] * 3
    wanted, _ = augment(
        contract.normalise(pixels.gather(batch.rows)),
        batch.labels,
        data.samples.keys[batch.rows],
        seed=5,
        epoch=0,
        classes=4,
        limits=(low, high),
    )
    assert torch.equal(batch.images, wanted)
    assert batch.images.min() >= -2 - 1e-5 and batch.images.max() <= 2 + 1e-5


def test_feed_refuses_to_colour_grey_images():
    images = np.zeros((40, 6, 7, 1), np.uint8)
    samples = Samples(make_ids(range(40)), np.arange(40) % 2, ("a", "b"))
    grey = Data("x", "arrays", samples, None, ArrayReader(images))
    contract = choose_contract(grey).with_statistics((0.5,), (0.25,))
    pixels = open_pixels(grey, contract)
    with pytest.raises(UsageError, match=r"augment\.hue is for colour images"):
        PixelFeed(pixels, samples, ROWS, contract, Augment(hue=0.1), 8, 5, CPU)


def test_feed_follows_the_order(data):
    feed, _, _ = make_feed(data)
    order = Order(ROWS, data.samples.keys, 8, 5)
    for step, batch in enumerate(islice(feed.batches(), 12)):
        assert (batch.rows == order.batch(step)).all()


@pytest.mark.parametrize("augment", [Augment(), Augment(translate=0.2, flip=True, mixup=0.3)])
def test_feed_starts_at_any_step_with_the_batch_it_would_have_had(data, augment):
    feed, _, _ = make_feed(data, augment)
    walked = list(islice(feed.batches(), 13))
    for start in (0, 1, 4, 5, 12):
        other, _, _ = make_feed(data, augment)
        assert same(next(other.batches(start)), walked[start])


def test_feed_gives_soft_labels_only_where_mixed(data):
    batch = next(make_feed(data, Augment(mixup=0.4))[0].batches())
    assert batch.labels.shape == (8, 4) and batch.labels.dtype == torch.float32
    assert next(make_feed(data, Augment(flip=True))[0].batches()).labels.dtype == torch.int64


def test_feed_gives_several_labels_an_image_as_floats(data):
    several = np.eye(4, dtype=np.float32)[data.samples.labels]
    samples = Samples(data.samples.ids, several, data.samples.class_names)
    feed, _, _ = make_feed(Data("x", "arrays", samples, None, data.reader))
    batch = next(feed.batches())
    assert batch.labels.dtype == torch.float32
    assert (batch.labels.numpy() == several[batch.rows]).all()


@pytest.mark.parametrize("batch_total", [1, 36, 37, 1000])
def test_feed_takes_any_batch_size(data, batch_total):
    feed, _, _ = make_feed(data, Augment(translate=0.2, mixup=0.2), batch_total)
    sizes = [len(batch) for batch in islice(feed.batches(), feed.steps_per_epoch)]
    assert sum(sizes) == 37 and max(sizes) == min(batch_total, 37)


def test_feed_decoding_on_the_fly_gives_the_same_batches(tmp_path):
    for number in range(12):
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(noise(seed=number), "PNG"))
    data = open_data(tmp_path)
    contract = choose_contract(data)
    feeds = []
    for pack in ("memory", "off"):
        pixels = open_pixels(data, contract, pack=pack)
        rows = np.arange(12)
        augment = Augment(flip=True)
        feeds.append(PixelFeed(pixels, data.samples, rows, contract, augment, 5, 0, CPU))
    for start in (0, 4):
        pairs = zip(feeds[0].batches(start), feeds[1].batches(start), strict=False)
        assert all(same(first, second) for first, second in islice(pairs, 8))
    (tmp_path / "a" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"a/0\.png could be decoded at the start"):
        list(islice(feeds[1].batches(), 3))


def test_scan_gives_every_sample_once_in_order_and_again_when_asked_again(data):
    _, pixels, contract = make_feed(data)
    rows = np.array([9, 2, 30, 31, 5])
    scan = PixelScan(pixels, data.samples, rows, contract, 2, CPU)
    assert scan.count == 5 and (scan.rows == rows).all()
    for _ in range(2):
        batches = list(scan)
        assert [len(batch) for batch in batches] == [2, 2, 1]
        assert np.concatenate([batch.rows for batch in batches]).tolist() == rows.tolist()
        labels = torch.cat([batch.labels for batch in batches])
        assert labels.tolist() == data.samples.labels[rows].tolist()
        images = torch.cat([batch.images for batch in batches])
        assert torch.equal(images, contract.normalise(pixels.gather(rows)))
    assert list(PixelScan(pixels, data.samples, rows[:0], contract, 2, CPU)) == []


@pytest.mark.parametrize("total", [1, 2, 7, 8, 64])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 100])
def test_micro_batches_hold_each_sample_once_and_none_is_empty(total, count):
    batch = Batch(
        torch.arange(total * 4.0).view(total, 1, 2, 2), torch.arange(total), np.arange(total), 3
    )
    parts = list(batch.micro(count))
    assert len(parts) == min(count, total)
    assert torch.equal(torch.cat([part.images for part, _ in parts]), batch.images)
    assert torch.equal(torch.cat([part.labels for part, _ in parts]), batch.labels)
    assert np.concatenate([part.rows for part, _ in parts]).tolist() == list(range(total))
    sizes = [len(part) for part, _ in parts]
    assert max(sizes) - min(sizes) <= 1
    assert [weight for _, weight in parts] == [size / total for size in sizes]
    assert sum(weight for _, weight in parts) == pytest.approx(1, abs=1e-12)
    assert all(part.epoch == 3 for part, _ in parts)


def test_micro_batch_of_one_part_is_the_batch_itself_with_weight_one():
    batch = Batch(torch.zeros(3, 1, 2, 2), torch.arange(3), np.arange(3))
    ((part, weight),) = batch.micro(1)
    assert part is batch and weight == 1.0


def test_micro_batches_weighted_give_the_loss_of_the_whole():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(13, 4, generator=generator, dtype=torch.float64)
    batch = Batch(images, torch.arange(13) % 4, np.arange(13))
    whole = torch.nn.functional.cross_entropy(images, batch.labels)
    parts = sum(
        torch.nn.functional.cross_entropy(part.images, part.labels) * weight
        for part, weight in batch.micro(5)
    )
    assert torch.allclose(parts, whole, rtol=1e-12)


@pytest.mark.gpu
@pytest.mark.parametrize("resident", [True, False])
def test_feed_on_a_gpu_gives_the_batches_of_the_cpu(data, resident, monkeypatch):
    if not resident:
        monkeypatch.setattr("torchloupe.data.pack.pixels.DEVICE_SHARE", 0.0)
    here, _, _ = make_feed(data, Augment(translate=0.2, flip=True))
    there, _, _ = make_feed(data, Augment(translate=0.2, flip=True), device=torch.device("cuda"))
    for first, second in islice(zip(here.batches(3), there.batches(3), strict=False), 9):
        assert torch.equal(first.images, second.images.cpu())
        assert torch.equal(first.labels, second.labels.cpu())
