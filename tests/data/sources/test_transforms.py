"""Transforms of a user's dataset, read as far as their kinds are known."""

import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, Subset
from torchvision import transforms
from torchvision.transforms import v2

from torchloupe.data.sources.transforms import Chain, read_chains

SIZE = (8, 8)
HALF = ((0.5,), (0.25,))


class Own:
    def __init__(self, transform, **more):
        self.transform = transform
        vars(self).update(more)

    def __len__(self):
        return 4


def read(*steps):
    (found,) = read_chains(Own(transforms.Compose(steps)), SIZE)
    return found


def test_chains_of_a_dataset_without_transforms_are_none():
    assert read_chains(Own(None), SIZE) == []
    assert read_chains([1, 2], SIZE) == []


@pytest.mark.parametrize(
    "transform",
    [
        transforms.ToTensor(),
        v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]),
        nn.Sequential(transforms.RandomHorizontalFlip(), transforms.CenterCrop(8)),
        transforms.Compose([transforms.Resize(8), transforms.CenterCrop(8), transforms.ToTensor()]),
        transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()]),
        transforms.Compose([transforms.RandomResizedCrop(8), transforms.ToTensor()]),
        transforms.Compose([transforms.Grayscale(), transforms.ToTensor()]),
        transforms.Compose([transforms.ColorJitter(0.1), transforms.ToTensor()]),
    ],
)
def test_chain_that_scales_alone_is_known(transform):
    assert read_chains(Own(transform), SIZE) == [Chain()]


def test_chain_has_the_numbers_of_its_normalize():
    steps = [transforms.ToTensor(), transforms.Normalize(*HALF)]
    assert read(*steps) == Chain(*HALF)
    assert read(*steps, transforms.Normalize(*HALF)).is_known is False


@pytest.mark.parametrize(
    "step",
    [
        transforms.Lambda(lambda image: image),
        transforms.Resize(9),
        transforms.Resize((8, 9)),
        transforms.CenterCrop(6),
        transforms.Grayscale(3),
        transforms.RandomInvert(p=1),
        transforms.GaussianBlur(3),
        str.upper,
    ],
)
def test_chain_with_another_step_is_not_known(step):
    assert read(step, transforms.ToTensor()).is_known is False


def test_chains_are_found_inside_and_equal_ones_count_once():
    inner = Own(transforms.ToTensor())
    normal = Own(transforms.Normalize(*HALF))
    assert read_chains(Subset(inner, [0, 1]), SIZE) == [Chain()]
    assert read_chains(ConcatDataset([inner, Own(transforms.ToTensor())]), SIZE) == [Chain()]
    assert read_chains(ConcatDataset([inner, normal]), SIZE) == [Chain(), Chain(*HALF)]
    assert read_chains(Own(transforms.Normalize(*HALF), dataset=inner), SIZE) == [
        Chain(*HALF),
        Chain(),
    ]
    looped = Own(None)
    looped.dataset = looped
    assert read_chains(looped, SIZE) == []


def test_chain_of_transforms_of_image_and_label_is_the_images():
    class Pair:
        transform = transforms.ToTensor()

    assert read_chains(Own(None, transforms=Pair()), SIZE) == [Chain()]
    (both,) = read_chains(Own(None, transforms=lambda image, label: (image, label)), SIZE)
    assert both.is_known is False
