"""How much each of thousands of points in the plane is pushed away by all others.

The sums over all pairs are read from a grid, as Linderman et al. 2019 do ("Fast interpolation-based
t-SNE"): points are spread to the nodes around them, the nodes are summed with the kernel by a
Fourier transform, and the sums are interpolated back. The time grows with the number of points and
of nodes, not of pairs.
"""

import torch
from torch import Tensor

SPACING = 0.6  # of nodes; the kernel falls to a quarter within 1
FEWEST_NODES, MOST_NODES = 32, 320  # a side
LEAST_CLOSENESS = 0.1  # a point, of its sum over the others
_NODES_STEP = 16  # sizes that a Fourier transform is quick at
_AROUND = 4  # nodes of a cubic, a dimension


def repel(places: Tensor) -> tuple[Tensor, float]:
    """For places y [N, 2]: sums over j of (y_i - y_j) / (1 + d_ij^2)^2 [N, 2], and the sum over
    all pairs of 1 / (1 + d_ij^2).
    """
    lowest = places.min(dim=0).values
    span = max(float((places.max(dim=0).values - lowest).max()), 1e-9)
    wanted = int(span / SPACING) + _AROUND + 1
    side = min(max(-(-wanted // _NODES_STEP) * _NODES_STEP, FEWEST_NODES), MOST_NODES)
    spacing = span / (side - _AROUND)
    nodes, weights = _spread((places - lowest) / spacing + 1, side)
    norms = places.square().sum(dim=1)
    charges = torch.stack([torch.ones_like(norms), places[:, 0], places[:, 1], norms])
    flat = nodes.flatten()
    on_nodes = torch.stack(
        [
            torch.bincount(flat, weights=(weights * each[:, None]).flatten(), minlength=side**2)
            for each in charges
        ]
    ).to(places.dtype)
    sums = _convolve(on_nodes.view(-1, side, side), spacing).flatten(1)
    ones, first, second, squares = (sums[:, flat].view(-1, *nodes.shape) * weights).sum(dim=2)
    pushes = places * ones[:, None] - torch.stack([first, second], dim=1)
    # (1 + d^2) / (1 + d^2)^2, with d^2 = |y_i|^2 - 2 y_i y_j + |y_j|^2; a point itself adds 1
    closeness = (1 + norms) * ones - 2 * (places[:, 0] * first + places[:, 1] * second) + squares
    # where all lie far from each other, the sum is less than its own error
    return pushes, max(float(closeness.sum()) - len(places), LEAST_CLOSENESS * len(places))


def _spread(at: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The 16 nodes around each place and their weights [N, 16]; `at` is in steps of the grid."""
    cells = at.floor().clamp(1, side - 3)
    x = (at - cells)[..., None]
    cubic = torch.cat(  # Lagrange's polynomials at -1, 0, 1 and 2
        [
            -x * (x - 1) * (x - 2) / 6,
            (x + 1) * (x - 1) * (x - 2) / 2,
            -(x + 1) * x * (x - 2) / 2,
            (x + 1) * x * (x - 1) / 6,
        ],
        dim=2,
    )
    lines = cells.long()[..., None] - 1 + torch.arange(_AROUND)  # [N, 2, 4]
    nodes = lines[:, 0, :, None] * side + lines[:, 1, None, :]
    return nodes.flatten(1), (cubic[:, 0, :, None] * cubic[:, 1, None, :]).flatten(1)


def _convolve(grids: Tensor, spacing: float) -> Tensor:
    """Each grid [C, S, S] summed at each node with 1 / (1 + d^2)^2."""
    side = grids.shape[-1]
    steps = torch.arange(2 * side)
    squares = (torch.minimum(steps, 2 * side - steps) * spacing).square().to(grids.dtype)
    kernel = torch.fft.rfft2((1 + squares[:, None] + squares).square().reciprocal())
    doubled = (2 * side, 2 * side)  # sums must not go around the edge
    whole: Tensor = torch.fft.irfft2(torch.fft.rfft2(grids, s=doubled) * kernel, s=doubled)
    return whole[:, :side, :side]
