"""t-SNE: van der Maaten and Hinton 2008, "Visualizing data using t-SNE".

Of some hundred points exactly. Of thousands, points attract only their nearest ones, as in van
der Maaten 2014, and what all of them repel is interpolated (`repulsion`). Both are the same each
time for the same points.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from torchloupe.trained.facts.repulsion import repel

PERPLEXITY_ROUNDS = 30  # halvings of the interval in which a point's bandwidth lies
EXAGGERATION = 12.0  # of similarities, over the first steps: clusters form before they settle
STEPS, EXAGGERATED_STEPS = 300, 100  # of the exact descent
MANY_STEPS, MANY_EXAGGERATED_STEPS = 180, 60  # a page shows neighbours, not the last digit
NEAREST = 3.0  # times the perplexity: the neighbours that attract a point
LEAST_RATE = 50.0
LEAST_GAIN = 0.01
_AT_ONCE = 1024  # rows of distances


def place_exactly(points: Tensor, start: Tensor, perplexity: float) -> Tensor:
    """Points [N, D] placed in two dimensions [N, 2], from `start` [N, 2] on.

    `perplexity` is the effective number of neighbours of a point, below N.
    """
    likeness = joint_likeness(points, perplexity)
    exaggerated = likeness * EXAGGERATION

    def slope_at(places: Tensor, is_early: bool) -> Tensor:
        return gradient(exaggerated if is_early else likeness, places)

    return _descend(start, slope_at, STEPS, EXAGGERATED_STEPS)


def place_many(points: Tensor, start: Tensor, perplexity: float) -> Tensor:
    """The same of thousands of points, in time that grows with N, but for finding neighbours."""
    near, likeness = near_likeness(points, perplexity)
    exaggerated = likeness * EXAGGERATION

    def slope_at(places: Tensor, is_early: bool) -> Tensor:
        return near_gradient(near, exaggerated if is_early else likeness, places)

    return _descend(start, slope_at, MANY_STEPS, MANY_EXAGGERATED_STEPS)


def _descend(
    start: Tensor, slope_at: Callable[[Tensor, bool], Tensor], steps: int, early: int
) -> Tensor:
    """Gradient descent with momentum and a gain for each number, as in the paper's section 3.4."""
    places, speed, gains = start.clone(), torch.zeros_like(start), torch.ones_like(start)
    rate = max(len(start) / EXAGGERATION / 4, LEAST_RATE)
    for step in range(steps):
        is_early = step < early
        slope = slope_at(places, is_early)
        gains = torch.where(speed * slope < 0, gains + 0.2, gains * 0.8).clamp_min(LEAST_GAIN)
        speed = (0.5 if is_early else 0.8) * speed - rate * gains * slope
        places = places + speed
    return places


def joint_likeness(points: Tensor, perplexity: float) -> Tensor:
    """The symmetric likenesses p_ij [N, N] of equation (2) and section 3.1, which sum to 1.

    Each point's Gaussian is as wide as gives it that perplexity.
    """
    distances = squared_distances(points)
    own = torch.eye(len(points), dtype=torch.bool)
    distances = (distances / distances.mean().clamp_min(1e-30)).masked_fill(own, torch.inf)
    weights = _with_perplexity(distances, perplexity)
    return (weights + weights.T) / (2 * len(points))


def near_likeness(points: Tensor, perplexity: float) -> tuple[Tensor, Tensor]:
    """The nearest of each point [N, k], and its part of the likeness to them [N, k].

    The likeness of two points is the sum of both parts; all of them sum to 1/2.
    """
    count = min(len(points) - 1, math.ceil(NEAREST * perplexity))
    norms, parts, nearest = points.square().sum(dim=1), [], []
    for first in range(0, len(points), _AT_ONCE):
        rows = points[first : first + _AT_ONCE]
        distances = torch.addmm(norms, rows, points.T, alpha=-2).add_(
            norms[first:][: len(rows), None]
        )
        distances.diagonal(first).fill_(torch.inf)
        found = distances.clamp_min_(0).topk(count, largest=False)
        parts.append(found.values)
        nearest.append(found.indices)
    distances = torch.cat(parts)
    weights = _with_perplexity(distances / distances.mean().clamp_min(1e-30), perplexity)
    return torch.cat(nearest), weights / (2 * len(points))


def _with_perplexity(distances: Tensor, perplexity: float) -> Tensor:
    """Gaussian weights [N, K] that sum to 1 a row, each row as wide as has that perplexity."""
    nearest = distances.min(dim=1, keepdim=True).values
    distances = distances - nearest  # changes no likeness, and no row is all zeros
    low = torch.full((len(distances), 1), -20.0)
    high = torch.full((len(distances), 1), 50.0)  # logarithms of the precision
    wanted = math.log(perplexity)
    for _ in range(PERPLEXITY_ROUNDS):
        middle = (low + high) / 2
        weights = torch.exp(-distances * middle.exp())
        total = weights.sum(dim=1, keepdim=True)
        known = distances.masked_fill(weights == 0, 0)
        entropy = total.log() + middle.exp() * (weights * known).sum(dim=1, keepdim=True) / total
        is_wide = entropy > wanted
        low, high = torch.where(is_wide, middle, low), torch.where(is_wide, high, middle)
    weights = torch.exp(-distances * low.exp())
    return weights / weights.sum(dim=1, keepdim=True)


def gradient(likeness: Tensor, places: Tensor) -> Tensor:
    """The gradient [N, 2] of the divergence by the places: equation (5)."""
    norms = places.square().sum(dim=1)
    beyond = torch.addmm(norms + 1, places, places.T, alpha=-2).add_(norms[:, None])
    closeness = beyond.clamp_min_(1).reciprocal_().fill_diagonal_(0)
    pulls = torch.sub(likeness, closeness, alpha=1 / float(closeness.sum())).mul_(closeness)
    return 4 * (pulls.sum(dim=1, keepdim=True) * places - pulls @ places)


def near_gradient(near: Tensor, likeness: Tensor, places: Tensor) -> Tensor:
    """The same gradient for the likenesses [N, k] of `near_likeness`."""
    ways = places[:, None] - places[near]  # [N, k, 2]
    pulls = ways * (likeness / (1 + ways.square().sum(dim=2)))[..., None]
    others = near.flatten()
    pulled_back = torch.stack(
        [
            torch.bincount(others, weights=pulls[..., axis].flatten(), minlength=len(places))
            for axis in (0, 1)
        ],
        dim=1,
    ).to(places.dtype)
    pushes, total = repel(places)
    return 4 * (pulls.sum(dim=1) - pulled_back - pushes / total)


def squared_distances(points: Tensor) -> Tensor:
    """The squared distance of each pair [N, N]."""
    norms = points.square().sum(dim=1)
    found: Tensor = norms[:, None] + norms - 2 * (points @ points.T)
    return found.clamp_min_(0)
