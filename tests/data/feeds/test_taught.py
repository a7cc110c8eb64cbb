"""Feeds with a teacher's answers: those of the view that the student sees, at any step."""

from itertools import islice

import numpy as np
import pytest
import torch

from torchloupe.config.schema import DataConfig
from torchloupe.data.augmentation.augment import Augment
from torchloupe.data.feeds.feed import Batch
from torchloupe.data.feeds.taught import AskedAnswers, KeptAnswers, answer_views
from torchloupe.prepare.data import prepare_data

pytestmark = pytest.mark.usefixtures("own_cache")


def ask(images: torch.Tensor) -> torch.Tensor:
    """Two numbers that tell every image, and every view of it, from others."""
    flat = images.flatten(1)
    return torch.stack([flat.mean(1), (flat * torch.arange(flat.shape[1])).mean(1)], 1)


@pytest.fixture
def open_feed():
    pixels = np.random.default_rng(0).integers(0, 255, (40, 8, 8, 3), dtype=np.uint8)
    config = DataConfig(val_fraction=0, test_fraction=0)
    data = prepare_data((pixels, np.arange(40) % 2), config)
    return lambda: data.feed(16, 3, Augment(translate=0.25, flip=True))


def take(feed, start: int, count: int) -> list[Batch]:
    return list(islice(feed.batches(start), count))


def kept(open_feed) -> KeptAnswers:
    rows = np.arange(40)
    answers = answer_views(open_feed(), rows, 2, ask, lambda _done, _total: None)
    return KeptAnswers(open_feed(), rows, answers)


@pytest.mark.parametrize("way", ["kept", "asked"])
def test_answers_are_those_to_what_the_student_sees(open_feed, way: str) -> None:
    feed = kept(open_feed) if way == "kept" else AskedAnswers(open_feed(), open_feed(), ask)
    for batch in take(feed, 0, 3 * feed.steps_per_epoch):
        assert batch.taught is not None
        assert torch.allclose(batch.taught, ask(batch.images), atol=1e-5)
        assert batch.targets == (batch.labels, batch.taught)


@pytest.mark.parametrize("way", ["kept", "asked"])
def test_a_feed_that_starts_later_gives_the_same(open_feed, way: str) -> None:
    feed = kept(open_feed) if way == "kept" else AskedAnswers(open_feed(), open_feed(), ask)
    whole, later = take(feed, 0, 8), take(feed, 5, 3)
    for one, other in zip(whole[5:], later, strict=True):
        assert torch.equal(one.taught, other.taught)
        assert torch.equal(one.images, other.images)


def test_views_come_again_in_another_order(open_feed) -> None:
    feed = kept(open_feed)
    epochs = [take(feed, 3 * epoch, 3) for epoch in range(3)]
    images = [
        {int(r): image for b in epoch for r, image in zip(b.rows, b.images, strict=True)}
        for epoch in epochs
    ]
    assert all(torch.equal(images[0][row], images[2][row]) for row in range(40))
    assert not all(torch.equal(images[0][row], images[1][row]) for row in range(40))
    assert not np.array_equal(epochs[0][0].rows, epochs[2][0].rows)


def test_micro_batches_have_their_own_answers(open_feed) -> None:
    (batch,) = take(kept(open_feed), 0, 1)
    parts = [part for part, _ in batch.micro(3)]
    assert torch.equal(torch.cat([part.taught for part in parts]), batch.taught)
