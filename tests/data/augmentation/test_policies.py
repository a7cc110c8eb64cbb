"""Policies: every operation happens, alone and as strong as drawn; draws decide, not the batch."""

import numpy as np
import pytest
import torch

from torchloupe.data.augmentation.policies import OPERATIONS, apply_policy, operations_for


def pictures(count=6, channels=3, side=16):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, channels, side, side, generator=generator)


def only(name, count, channels=3, level=0.5, is_negative=False):
    """The draws of a batch in which every image gets one operation."""
    names = operations_for(channels)
    which = (names.index(name) + 0.5) / len(names)
    return np.array([[which], [level], [0.25 if is_negative else 0.75]]) * np.ones((3, count))


@pytest.mark.parametrize("policy", ["randaugment", "trivialaugment"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_policy_changes_an_image_in_the_same_way_in_any_batch(policy, channels):
    pixels = pictures(64, channels)
    draws = np.random.default_rng(0).random((3, 64))
    before = pixels.clone()
    whole = apply_policy(pixels, policy, 0.4, draws)
    assert torch.equal(pixels, before) and whole.shape == pixels.shape
    assert whole.min() >= 0 and whole.max() <= 1
    for k in range(64):
        one = slice(k, k + 1)
        assert torch.equal(apply_policy(pixels[one], policy, 0.4, draws[:, one]), whole[one])


def test_operations_are_those_that_do_something():
    assert len(OPERATIONS) == 14 and operations_for(3) == OPERATIONS
    assert set(OPERATIONS) - set(operations_for(1)) == {"saturation"}


@pytest.mark.parametrize(
    ("name", "channels"), [(name, count) for count in (1, 3) for name in operations_for(count)]
)
def test_operation_changes_what_it_should(name, channels):
    pixels = pictures(channels=channels)
    draws = only(name, 6, channels, level=0.9)
    weak, strong = (apply_policy(pixels, "randaugment", s, draws) for s in (0.0, 0.9))
    wide = apply_policy(pixels, "trivialaugment", 0.0, draws)
    if name == "identity":
        assert torch.equal(strong, pixels) and torch.equal(wide, pixels)
        return
    is_fixed = name in ("autocontrast", "equalize")
    assert is_fixed or torch.allclose(weak, pixels, atol=3e-3)
    assert not torch.allclose(strong, pixels, atol=3e-3)
    assert is_fixed or not torch.allclose(wide, strong, atol=1e-3) or name == "solarize"
    other = apply_policy(pixels, "randaugment", 0.9, only(name, 6, channels, is_negative=True))
    has_sign = name not in ("autocontrast", "equalize", "posterize", "solarize")
    assert torch.equal(other, strong) != has_sign


def spot(at, side=41):
    image = torch.zeros(1, 1, side, side)
    image[0, 0, at[0] - 1 : at[0] + 2, at[1] - 1 : at[1] + 2] = 1
    return image


def middle(image):
    weights = image[0, 0] / image.sum()
    places = torch.arange(len(weights), dtype=torch.float32)
    return [float((weights.sum(axis) * places).sum()) for axis in (1, 0)]


@pytest.mark.parametrize(
    ("name", "start", "wanted"),
    [
        ("translate_x", (20, 20), [20, 20 + 0.45 * 41 * 0.5]),
        ("translate_y", (20, 20), [20 + 0.45 * 41 * 0.5, 20]),
        ("rotate", (20, 30), [20 - 10 * np.sin(np.pi / 12), 20 + 10 * np.cos(np.pi / 12)]),
        ("shear_x", (30, 20), [30, 20 - 0.15 * 10]),
        ("shear_y", (20, 30), [20 - 0.15 * 10, 30]),
    ],
)
def test_moves_are_as_far_as_they_say(name, start, wanted):
    found = apply_policy(spot(start), "randaugment", 0.5, only(name, 1, 1))
    assert middle(found) == pytest.approx(wanted, abs=0.1)


def test_moves_of_images_that_are_not_square_keep_proportions():
    image = torch.zeros(1, 1, 21, 61)
    image[0, 0, 9:12, 39:42] = 1
    found = apply_policy(image, "trivialaugment", 0, only("rotate", 1, 1, level=20 / 135))
    weights = found[0, 0] / found.sum()
    y = float((weights.sum(1) * torch.arange(21.0)).sum()) - 10
    x = float((weights.sum(0) * torch.arange(61.0)).sum()) - 30
    assert np.hypot(x, y) == pytest.approx(10, abs=0.1)
    assert np.rad2deg(np.arctan2(y, x)) == pytest.approx(-20, abs=1)


def test_every_operation_is_drawn_equally_often():
    draws = np.random.default_rng(0).random((3, 5000))
    names = np.floor(draws[0] * 14).astype(int)
    assert np.bincount(names, minlength=14).min() > 280
