"""Geometry: each move is what it says, for every image by its own numbers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from torchloupe.data.augmentation.geometry import erase, shift, warp


def pictures(count=64, channels=3, height=12, width=16, seed=0):
    made = torch.rand(count, height, width, channels, generator=torch.Generator().manual_seed(seed))
    return made.permute(0, 3, 1, 2)


def test_shift_moves_whole_pixels_and_repeats_the_edge():
    images = torch.arange(12.0).reshape(1, 1, 3, 4)

    def moved(down, right, flip=False):
        arrays = (np.array([v], np.int32) for v in (down, right))
        return shift(images, *arrays, np.array([flip]))[0, 0].int().tolist()

    assert moved(0, 0) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert moved(1, 0) == [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7]]
    assert moved(-2, 0) == [[8, 9, 10, 11]] * 3
    assert moved(0, 2) == [[0, 0, 0, 1], [4, 4, 4, 5], [8, 8, 8, 9]]
    assert moved(0, -1) == [[1, 2, 3, 3], [5, 6, 7, 7], [9, 10, 11, 11]]
    assert moved(0, 0, flip=True) == [[3, 2, 1, 0], [7, 6, 5, 4], [11, 10, 9, 8]]
    assert moved(9, 9) == [[0, 0, 0, 0]] * 3


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("padding", "mode"), [("edge", "replicate"), ("reflect", "reflect"), ("zero", "constant")]
)
def test_shift_equals_padding_and_cropping_of_every_image(padding, mode, channels):
    images = pictures(channels=channels)
    random = np.random.default_rng(0)
    down, right = (random.integers(-3, 4, 64).astype(np.int32) for _ in range(2))
    flips = random.random(64) < 0.5
    mirrored = torch.where(torch.from_numpy(flips)[:, None, None, None], images.flip(3), images)
    padded = F.pad(mirrored, (3, 3, 3, 3), mode=mode)
    for k, found in enumerate(shift(images, down, right, flips, padding)):
        top, left = 3 - down[k], 3 - right[k]
        assert torch.equal(found, padded[k, :, top : top + 12, left : left + 16])


def test_erase_sets_a_square_to_zero_and_cuts_it_off_at_the_border():
    images = torch.ones(3, 2, 5, 6)
    top, left = np.array([1, -1, 3], np.int32), np.array([2, -2, 5], np.int32)
    found = erase(images, top, left, 3)[:, 0].int().tolist()
    assert found[0] == [
        [1, 1, 1, 1, 1, 1],
        [1, 1, 0, 0, 0, 1],
        [1, 1, 0, 0, 0, 1],
        [1, 1, 0, 0, 0, 1],
        [1, 1, 1, 1, 1, 1],
    ]
    assert found[1] == [[0, 1, 1, 1, 1, 1]] * 2 + [[1] * 6] * 3
    assert found[2] == [[1] * 6] * 3 + [[1, 1, 1, 1, 1, 0]] * 2


@pytest.mark.parametrize("padding", ["edge", "reflect", "zero"])
def test_shift_by_more_than_the_image_stays_within_it(padding):
    images = pictures(4, 1, 5, 5) + 1
    far = np.array([5, -5, 40, -40], np.int32)
    found = shift(images, far, far, np.zeros(4, bool), padding)
    assert torch.isfinite(found).all()
    assert (found == 0).all() if padding == "zero" else (found >= 1).all()


@pytest.mark.parametrize(
    ("padding", "mode"), [("edge", "border"), ("reflect", "reflection"), ("zero", "zeros")]
)
def test_warp_is_torchs_affine_grid_and_grid_sample(padding, mode):
    images = pictures()
    maps = np.random.default_rng(0).normal(size=(64, 2, 3))
    grid = F.affine_grid(torch.from_numpy(maps).float(), list(images.shape), align_corners=False)
    wanted = F.grid_sample(images, grid, padding_mode=mode, align_corners=False)
    assert torch.allclose(warp(images, maps, padding), wanted, atol=1e-4)


def test_warp_by_nothing_gives_the_image():
    maps = np.tile(np.array([[1.0, 0, 0], [0, 1, 0]]), (64, 1, 1))
    assert torch.allclose(warp(pictures(), maps), pictures(), atol=1e-5)
