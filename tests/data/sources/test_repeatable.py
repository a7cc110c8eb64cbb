"""Datasets and streams that draw numbers nothing seeds are named; those that can be, are seeded."""

import os
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate
from torchvision.transforms import v2

import torchloupe as loupe
from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.feeds.loader import LoaderFeed
from torchloupe.data.sources import open_data

UNSEEDED = "draws random numbers that are not seeded, so two equal runs give different weights"


class OwnGenerator:
    """A transform like those of albumentations: its generators are its own."""

    def __init__(self):
        self.random_generator = np.random.default_rng()
        self.py_random = random.Random()

    def __call__(self, image):
        return image + self.random_generator.random() + self.py_random.random()


def draw_by_torch(image):
    return image + torch.rand(())


def draw_by_system(image):
    return image + int.from_bytes(os.urandom(2)) / 65536


class Changed(Dataset):
    """24 float images, each changed by a transform."""

    classes = ("a", "b")

    def __init__(self, transform, fresh=False):
        self.transform = transform
        self.targets = [k % 2 for k in range(24)]

    def __len__(self):
        return 24

    def __getitem__(self, row):
        return self.transform(torch.full((1, 6, 6), row / 24)), row % 2


class Streamed(IterableDataset):
    """The same, one after the other."""

    classes = ("a", "b")

    def __init__(self, transform):
        self.inner = Changed(transform)

    def __iter__(self):
        return (self.inner[row] for row in range(24))

    def __len__(self):
        return 24


def test_datasets_with_seeded_numbers_get_no_note():
    for transform in (draw_by_torch, OwnGenerator(), lambda image: image):
        assert open_data(Changed(transform)).notes == ()
        assert open_data((Streamed(transform), Streamed(transform))).notes == ()


def test_datasets_that_can_not_be_seeded_are_noted():
    assert open_data(Changed(draw_by_system)).notes == (
        f"dataset: row 0 differs when it is read twice with equal seeds: Changed {UNSEEDED}",
    )
    stream = Streamed(draw_by_system)
    assert open_data((stream, stream)).notes == (
        f"the stream differs when it is read twice with equal seeds: Streamed {UNSEEDED}",
    )
    loader = DataLoader(Changed(draw_by_system), batch_size=4)
    assert open_data((loader, loader)).notes == (
        f"the stream differs when it is read twice with equal seeds: Changed {UNSEEDED}",
    )


class Mixing:
    """A collate_fn as MixUp has it, with a generator of its own."""

    def __init__(self):
        self.generator = np.random.default_rng()

    def __call__(self, items):
        images, labels = default_collate(items)
        fraction = self.generator.beta(0.4, 0.4)
        return images * fraction + images.flip(0) * (1 - fraction), labels


def mix_up(items):
    """A collate_fn as torchvision's documentation has it."""
    return v2.MixUp(num_classes=2)(*default_collate(items))


def weights(folder, source, **settings):
    run = loupe.fit(source, model="net", epochs=1, out=folder, settings=settings)
    return torch.cat([p.detach().ravel() for p in run.model.parameters()])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Changed(OwnGenerator()),
        lambda: DataLoader(Changed(OwnGenerator()), 8, shuffle=True, num_workers=1),
        lambda: DataLoader(Changed(draw_by_torch), 8, collate_fn=Mixing()),
        lambda: DataLoader(Changed(OwnGenerator()), 8, collate_fn=Mixing(), num_workers=1),
        lambda: DataLoader(Changed(draw_by_torch), 8, shuffle=True, collate_fn=mix_up),
    ],
)
def test_two_equal_runs_give_equal_weights(tmp_path, make):
    first, second = (weights(tmp_path / name, make()) for name in ("a", "b"))
    assert torch.equal(first, second)


def test_own_generators_do_not_depend_on_the_number_of_workers():
    batches = []
    for workers in (0, 2):
        data = open_data(Changed(OwnGenerator()))
        contract = choose_contract(data)
        feed = LoaderFeed(data, np.arange(24), contract, 8, 3, torch.device("cpu"), workers)
        batches.append(next(feed.batches(2)).images)
    assert torch.equal(*batches)


def test_albumentations_are_seeded(tmp_path):
    albumentations = pytest.importorskip("albumentations", reason="not installed")
    crop = albumentations.Compose([albumentations.RandomCrop(4, 4), albumentations.GaussNoise(p=1)])

    def change(image):
        return crop(image=np.uint8(255 * image.numpy().transpose(1, 2, 0)))["image"]

    assert open_data(Changed(change)).notes == ()


def test_kornia_is_seeded():
    augmentation = pytest.importorskip("kornia.augmentation", reason="not installed")
    turn = augmentation.RandomRotation(30.0, p=1.0)
    assert open_data(Changed(lambda image: turn(image)[0])).notes == ()
