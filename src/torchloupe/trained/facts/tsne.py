"""t-SNE of some hundred points, exactly: van der Maaten and Hinton 2008, "Visualizing data using
t-SNE".

scikit-learn's approximates by a tree, which pays from a thousand points on; below that its import
alone takes longer than all of this.
"""

import torch
from torch import Tensor

PERPLEXITY_ROUNDS = 30  # halvings of the interval in which a point's bandwidth lies
EXAGGERATION = 12.0  # of similarities, over the first steps: clusters form before they settle
EXAGGERATED_STEPS = 100
STEPS = 300
LEAST_RATE = 50.0
LEAST_GAIN = 0.01


def place_exactly(points: Tensor, start: Tensor, perplexity: float) -> Tensor:
    """Points [N, D] placed in two dimensions [N, 2], from `start` [N, 2] on; the same each time.

    `perplexity` is the effective number of neighbours of a point, below N.
    """
    likeness = joint_likeness(points, perplexity)
    places, speed, gains = start.clone(), torch.zeros_like(start), torch.ones_like(start)
    rate = max(len(points) / EXAGGERATION / 4, LEAST_RATE)
    exaggerated = likeness * EXAGGERATION
    for step in range(STEPS):
        is_early = step < EXAGGERATED_STEPS
        slope = gradient(exaggerated if is_early else likeness, places)
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
    nearest = distances.min(dim=1, keepdim=True).values
    distances = distances - nearest  # changes no likeness, and no row is all zeros
    low = torch.full((len(points), 1), -20.0)
    high = torch.full((len(points), 1), 50.0)  # logarithms of the precision
    wanted = torch.tensor(perplexity).log()
    for _ in range(PERPLEXITY_ROUNDS):
        middle = (low + high) / 2
        weights = torch.exp(-distances * middle.exp())
        total = weights.sum(dim=1, keepdim=True)
        mean = (weights * distances.masked_fill(own, 0)).sum(dim=1, keepdim=True) / total
        entropy = total.log() + middle.exp() * mean
        is_wide = entropy > wanted
        low, high = torch.where(is_wide, middle, low), torch.where(is_wide, high, middle)
    weights = torch.exp(-distances * low.exp())
    weights = weights / weights.sum(dim=1, keepdim=True)
    return (weights + weights.T) / (2 * len(points))


def gradient(likeness: Tensor, places: Tensor) -> Tensor:
    """The gradient [N, 2] of the divergence by the places: equation (5)."""
    norms = places.square().sum(dim=1)
    beyond = torch.addmm(norms + 1, places, places.T, alpha=-2).add_(norms[:, None])
    closeness = beyond.clamp_min_(1).reciprocal_().fill_diagonal_(0)
    pulls = torch.sub(likeness, closeness, alpha=1 / float(closeness.sum())).mul_(closeness)
    return 4 * (pulls.sum(dim=1, keepdim=True) * places - pulls @ places)


def squared_distances(points: Tensor) -> Tensor:
    """The squared distance of each pair [N, N]."""
    norms = points.square().sum(dim=1)
    found: Tensor = norms[:, None] + norms - 2 * (points @ points.T)
    return found.clamp_min_(0)
