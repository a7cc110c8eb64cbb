"""Colour: the same as torchvision's functions, for every image by its own numbers."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from torchloupe.data.augmentation import colour

ONES = np.ones(6)
RANDOM = np.random.default_rng(0)


def pictures(channels=3, height=9, width=11):
    values = torch.randint(0, 256, (6, channels, height, width), dtype=torch.uint8)
    return values, values / 255


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def one_by_one(change, pixels, factors):
    return torch.stack([change(p, f) for p, f in zip(pixels, factors.tolist(), strict=True)])


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_and_contrast_are_torchvisions(channels):
    _, pixels = pictures(channels)
    factors = RANDOM.uniform(0, 2, 6)
    found = colour.jitter(pixels, factors, ONES, ONES)
    assert torch.allclose(found, one_by_one(tv.adjust_brightness, pixels, factors), atol=1e-6)
    found = colour.jitter(pixels, ONES, factors, ONES)
    # the mean is of greys in 255 steps here
    assert torch.allclose(found, one_by_one(tv.adjust_contrast, pixels, factors), atol=2e-3)


def test_saturation_is_torchvisions():
    _, pixels = pictures()
    factors = RANDOM.uniform(0, 2, 6)
    found = colour.jitter(pixels, ONES, ONES, factors)
    assert torch.allclose(found, one_by_one(tv.adjust_saturation, pixels, factors), atol=1e-3)


def test_jitter_of_all_three_is_one_after_another():
    _, pixels = pictures()
    pixels = pixels * 0.5 + 0.25
    factors = RANDOM.uniform(0.8, 1.2, (3, 6))  # nothing is cut off on the way
    wanted = colour.jitter(pixels, factors[0], ONES, ONES)
    wanted = colour.jitter(wanted, ONES, factors[1], ONES)
    wanted = colour.jitter(wanted, ONES, ONES, factors[2])
    assert torch.allclose(colour.jitter(pixels, *factors), wanted, atol=4e-3)


def test_hue_keeps_greys_and_comes_back_after_a_full_turn():
    _, pixels = pictures()
    pixels = pixels * 0.3 + 0.35
    grey = pixels[:, :1].expand(-1, 3, -1, -1)
    turn = RANDOM.uniform(-0.5, 0.5, 6)
    assert torch.allclose(colour.turn_hue(grey, turn), grey, atol=1e-6)
    assert torch.allclose(colour.turn_hue(pixels, np.ones(6)), pixels, atol=1e-6)
    back = colour.turn_hue(colour.turn_hue(pixels, turn), -turn)
    assert torch.allclose(back, pixels, atol=1e-6)
    thirds = colour.turn_hue(pixels, np.full(6, 1 / 3))
    assert torch.allclose(thirds, pixels.roll(1, 1), atol=1e-6)
    red = torch.tensor([0.8, 0.2, 0.2])[None, :, None, None]
    assert colour.turn_hue(red, np.array([1 / 3])).flatten().tolist() == pytest.approx(
        [0.2, 0.8, 0.2], abs=1e-6
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_sharpness_is_torchvisions(channels):
    _, pixels = pictures(channels)
    factors = RANDOM.uniform(0, 2, 6)
    wanted = one_by_one(tv.adjust_sharpness, pixels, factors)
    assert torch.allclose(colour.sharpen(pixels, factors), wanted, atol=1e-6)


def test_sharpness_leaves_tiny_images_alone():
    _, pixels = pictures(1, 2, 5)
    assert colour.sharpen(pixels, np.zeros(6)) is pixels


@pytest.mark.parametrize("channels", [1, 3])
def test_posterize_and_solarize_are_torchvisions(channels):
    values, pixels = pictures(channels)
    bits = np.array([8, 7, 5, 3, 2, 1])
    wanted = torch.stack([tv.posterize(v, int(b)) for v, b in zip(values, bits, strict=True)])
    assert torch.equal((colour.posterize(pixels, bits) * 255).round().byte(), wanted)
    thresholds = np.array([0, 30, 100, 128, 200, 255]) / 255
    wanted = one_by_one(tv.solarize, pixels, thresholds)
    assert torch.allclose(colour.solarize(pixels, thresholds), wanted)


@pytest.mark.parametrize("channels", [1, 3])
def test_autocontrast_and_equalize_are_torchvisions(channels):
    values, pixels = pictures(channels, 40, 30)
    values = (values // 3 + torch.arange(6, dtype=torch.uint8)[:, None, None, None] * 9).clone()
    values[0, 0] = 77  # a flat channel
    values[1, 0, :3] = 250
    pixels = values / 255
    assert torch.allclose(colour.stretch_contrast(pixels), tv.autocontrast(pixels), atol=1e-6)
    assert torch.equal((colour.equalize(pixels) * 255).round().byte(), tv.equalize(values))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_image_gets_the_same_bits_in_any_batch(channels):
    _, pixels = pictures(channels, 37, 41)
    factors = RANDOM.uniform(0, 2, (3, 6))
    whole = colour.jitter(pixels, *factors)
    for k in range(6):
        one = slice(k, k + 1)
        assert torch.equal(colour.jitter(pixels[one], *factors[:, one]), whole[one])
        for change in (colour.equalize, colour.stretch_contrast, colour.mean_of):
            assert torch.equal(change(pixels[one]), change(pixels)[one])


def test_mean_of_is_exact():
    values, pixels = pictures(1, 300, 301)
    wanted = values.double().mean((1, 2, 3)) / 255
    assert torch.equal(colour.mean_of(pixels).flatten(), wanted.float())
