"""What 8-bit levels are as floats: proved on the values, equal to torchvision's to the last bit."""

import numpy as np
import pytest
import torch
from pictures import noise
from PIL import Image
from torchvision import transforms

from torchloupe.data.levels import BYTE, UNIT, USUAL, Levels, find_levels

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def some(count=4):
    return [noise(12, 16, 3, seed) for seed in range(count)]


def as_tensors(images, *more):
    chain = transforms.Compose([transforms.ToTensor(), *more])
    return [chain(Image.fromarray(image)).permute(1, 2, 0).numpy() for image in images]


@pytest.mark.parametrize(
    "more",
    [(), (transforms.Normalize(*IMAGENET),), (transforms.Normalize((0.5,) * 3, (0.5,) * 3),)],
)
def test_levels_of_usual_transforms_are_found_and_give_their_bits(more):
    images = some()
    tensors = as_tensors(images, *more)
    levels = find_levels(tensors)
    assert levels is not None
    for image, tensor in zip(images, tensors, strict=True):
        assert (levels.apply(image) == tensor).all()


def test_levels_of_another_normalize_are_found_where_it_is_known():
    images = some()
    numbers = ((0.41, 0.2, 0.3), (0.31, 0.17, 0.2))
    tensors = as_tensors(images, transforms.Normalize(*numbers))
    assert find_levels(tensors) is None
    levels = find_levels(tensors, [Levels(255.0, *numbers)])
    assert levels is not None
    assert (levels.apply(images[0]) == tensors[0]).all()


@pytest.mark.parametrize("top", [60, 255])
def test_levels_of_dark_images_are_no_other_than_of_bright_ones(top):
    images = [image.astype(np.float32) / np.float32(255) for image in some()]
    dark = [np.minimum(image, np.float32(top) / np.float32(255)) for image in images]
    assert find_levels(dark) == UNIT


def test_levels_of_whole_numbers_are_they_themselves_where_some_are_bright():
    assert find_levels([image.astype(np.float32) for image in some()]) == BYTE
    assert find_levels([np.minimum(image, 16).astype(np.float32) for image in some()]) is None


@pytest.mark.parametrize(
    "images",
    [
        [],
        [np.random.default_rng(0).uniform(0, 1, (12, 16, 3)).astype(np.float32)],
        [np.random.default_rng(0).normal(0, 1, (12, 16, 3)).astype(np.float32)],
        [(noise() > 128).astype(np.float32)],  # a mask says nothing of the levels between
        [(noise() > 128) * np.float32(255)],
        [noise().astype(np.float32) / np.float32(200)],
        [np.full((4, 4, 1), np.nan, np.float32)],
        [-noise().astype(np.float32)],
    ],
)
def test_levels_are_unknown_where_values_prove_none(images):
    assert find_levels(images) is None


def test_levels_are_unknown_where_one_value_fits_none():
    tensors = as_tensors(some())
    tensors[3][5, 5, 1] += 0.002
    assert find_levels(tensors) is None
    tensors[3][5, 5, 1] = np.nan  # a value that is none hinders nothing
    assert find_levels(tensors) == UNIT


def test_levels_fit_only_images_of_as_many_channels():
    assert [levels.fits(1) for levels in USUAL] == [True, True, True, False, True]
    assert all(levels.fits(3) for levels in USUAL)
    assert find_levels([torch.rand(4, 4, 5).numpy()]) is None
