"""Mixing: Beta out of uniform numbers, and pairs of images and labels."""

import numpy as np
import pytest
import torch

from torchloupe.data.augmentation.mixing import draw_beta, paste_pairs


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 5.0, 100.0])
def test_draw_beta_is_beta(alpha):
    random = np.random.default_rng(0)
    found = draw_beta(alpha, random.random(100_000), random.random(100_000))
    assert ((found >= 0) & (found <= 1)).all()
    wanted = random.beta(alpha, alpha, 100_000)
    shares = np.linspace(0.02, 0.98, 49)
    assert np.abs(np.quantile(found, shares) - np.quantile(wanted, shares)).max() < 0.03
    assert found.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.02)


def test_paste_pairs_cuts_off_at_the_border_and_counts_what_is_left():
    images = torch.arange(2.0)[:, None, None, None].expand(2, 1, 4, 8)
    share, place = np.array([0.75, 0.75]), (np.array([0.5, 0.0]), np.array([0.5, 1.0]))
    found, soft = paste_pairs(images, torch.tensor([0, 1]), share, place, 2)
    assert found[0, 0].int().tolist() == [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ]
    assert found[1, 0, 0].int().tolist() == [1, 1, 1, 1, 1, 1, 0, 0]
    assert (found[1, 0, 1:] == 1).all()
    assert soft.tolist() == [[0.75, 0.25], [0.0625, 0.9375]]


@pytest.mark.parametrize(("share", "own"), [(1.0, 1.0), (0.0, 0.0)])
def test_paste_pairs_of_nothing_and_of_all(share, own):
    images = torch.rand(3, 3, 6, 6)
    middle = np.full(3, 0.5), np.full(3, 0.5)
    found, soft = paste_pairs(images, torch.arange(3), np.full(3, share), middle, 3)
    assert torch.equal(found, images if own else images.roll(-1, 0))
    assert torch.equal(soft, torch.eye(3) if own else torch.eye(3).roll(-1, 0))


def test_paste_pairs_takes_several_labels():
    several = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    middle = np.full(2, 0.5), np.full(2, 0.5)
    _, soft = paste_pairs(torch.rand(2, 1, 8, 8), several, np.full(2, 0.75), middle, 3)
    assert soft.tolist() == [[0.75, 0.75, 0.25], [0.25, 0.25, 0.75]]
