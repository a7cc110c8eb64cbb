"""Sums over all pairs, read from a grid, are those of the pairs."""

import pytest
import torch

from torchloupe.trained.facts.repulsion import repel


@pytest.mark.parametrize(("spread", "error"), [(0.01, 1e-5), (1.0, 0.005), (5.0, 0.04)])
def test_sums_are_those_of_all_pairs(spread, error):
    places = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)) * spread
    pushes, total = repel(places)
    exact = places.double()
    closeness = 1 / (1 + torch.cdist(exact, exact).square())
    closeness.fill_diagonal_(0)
    squared = closeness.square()
    wanted = exact * squared.sum(dim=1, keepdim=True) - squared @ exact
    assert total == pytest.approx(float(closeness.sum()), rel=error)
    assert float((pushes - wanted).norm() / wanted.norm()) < error


def test_far_points_do_not_push_around_the_edge_of_the_grid():
    places = torch.tensor([[0.0, 0.0], [60.0, 0.0], [0.0, 60.0], [60.0, 60.0]])
    pushes, total = repel(places)
    assert float(pushes.abs().max()) < 1e-3
    assert total <= 0.1 * len(places)


def test_points_at_one_place_have_no_push():
    pushes, total = repel(torch.zeros(20, 2))
    assert float(pushes.abs().max()) < 1e-4
    assert total == pytest.approx(20 * 19, rel=1e-3)
