"""t-SNE: its likenesses and gradient are those of the paper, and it finds neighbours."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits
from sklearn.manifold import TSNE, trustworthiness

from torchloupe.trained.facts.tsne import (
    gradient,
    joint_likeness,
    near_gradient,
    near_likeness,
    place_exactly,
    place_many,
)


def test_each_point_has_the_perplexity_that_was_asked_for():
    points = torch.randn(80, 5, generator=torch.Generator().manual_seed(0))
    likeness = joint_likeness(points, 12.0)
    assert float(likeness.sum()) == pytest.approx(1, abs=1e-5)
    assert torch.equal(likeness, likeness.T)
    # as in the paper: a search on each row alone, in float64
    distances = cdist(points.double().numpy(), points.double().numpy(), "sqeuclidean")
    expected = np.zeros_like(distances)
    for row, line in enumerate(distances):
        low, high = 1e-6, 1e6
        beyond = np.maximum(line - np.delete(line, row).min(), 0)
        for _ in range(200):
            beta = np.sqrt(low * high)
            p = np.exp(-beta * beyond)
            p[row] = 0
            p /= p.sum()
            entropy = -(p[p > 0] * np.log(p[p > 0])).sum()
            low, high = (beta, high) if entropy > np.log(12.0) else (low, beta)
        expected[row] = p
    expected = (expected + expected.T) / (2 * len(points))
    np.testing.assert_allclose(likeness.numpy(), expected, atol=1e-6, rtol=1e-3)


def test_the_gradient_is_that_of_the_divergence():
    generator = torch.Generator().manual_seed(0)
    likeness = joint_likeness(torch.randn(30, 4, generator=generator), 8.0).double()
    places = torch.randn(30, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    closeness = 1 / (1 + (places[:, None] - places[None]).square().sum(dim=2))
    closeness = closeness * (1 - torch.eye(30))
    q = closeness / closeness.sum()
    terms = likeness * (likeness.clamp_min(1e-30) / (q + torch.eye(30))).log()
    terms.sum().backward()
    torch.testing.assert_close(gradient(likeness, places.detach()), places.grad, rtol=1e-5, atol=0)


def test_with_all_points_for_neighbours_the_gradient_is_the_exact_one():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(90, 4, generator=generator)
    places = torch.randn(90, 2, generator=generator)
    near, likeness = near_likeness(points, 30.0)
    assert near.shape == (90, 89)
    assert float(likeness.sum()) == pytest.approx(0.5, abs=1e-5)
    wanted = gradient(joint_likeness(points, 30.0), places)
    found = near_gradient(near, likeness, places)
    assert float((found - wanted).norm() / wanted.norm()) < 0.01


def digits(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of digits, centred [N, D], and where a map of them begins [N, 2]."""
    images = torch.from_numpy(load_digits().data[:count]).float()
    centred = images - images.mean(dim=0)
    kept = centred @ torch.linalg.svd(centred, full_matrices=False).Vh[:2].T
    return centred, (1e-4 * kept / kept[:, 0].std()).contiguous()


def assert_as_good_as_scikit_learns(points, start, places, perplexity) -> None:
    theirs = TSNE(perplexity=perplexity, init=start.numpy(), max_iter=300, random_state=0, n_jobs=1)
    own, other = (
        trustworthiness(points.numpy(), each, n_neighbors=10)
        for each in (places.numpy(), theirs.fit_transform(points.numpy()))
    )
    assert own > other - 0.005


def test_the_interpolated_map_is_as_good_as_scikit_learns():
    centred, start = digits(500)
    assert_as_good_as_scikit_learns(centred, start, place_many(centred, start, 15.0), 15)


def test_the_map_of_real_images_is_as_good_as_scikit_learns():
    centred, start = digits(250)
    places = place_exactly(centred, start, 30.0)
    assert torch.equal(places, place_exactly(centred, start, 30.0))
    assert_as_good_as_scikit_learns(centred, start, places, 30)


def test_equal_points_and_few_points_have_finite_places():
    for points in (torch.zeros(15, 3), torch.ones(4, 2), torch.eye(6)[:, :3]):
        places = place_exactly(points, torch.zeros(len(points), 2), (len(points) - 1) / 3)
        assert bool(places.isfinite().all())
    assert bool(place_many(torch.ones(60, 2), torch.zeros(60, 2), 15.0).isfinite().all())
    points = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    again = [place_many(points, points[:, :2] * 1e-4, 15.0) for _ in range(2)]
    assert torch.equal(*again)
