"""Images and their nearest neighbours: suspected label errors and near-duplicates.

It takes features, labels and splits as arrays; the caller knows which images they belong to.
Every row is compared with all others, block by block: time grows with the square of their number,
memory does not.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

NEAREST = 5  # neighbours looked at for each image
FEWEST_OTHERS = 3  # other images that the class of a suspected image must have
ALIKE = 0.97  # images whose features have at least this cosine are near-duplicates
BLOCK = 1024


@dataclass(frozen=True)
class SuspectedLabel:
    """An image whose neighbours are all of one other class: its label may be wrong."""

    row: int
    among: int  # the class of its neighbours
    nearest: int  # the row of the nearest of them
    margin: float  # mean cosine with those neighbours minus that with its own class


@dataclass(frozen=True)
class NearDuplicate:
    """Two images of different splits that are nearly the same."""

    row: int
    other: int
    cosine: float  # cosine of their features


def find_suspected_labels(
    features: Tensor, labels: NDArray[np.int64], most: int = 20
) -> list[SuspectedLabel]:
    """The images whose NEAREST neighbours are all of one other class, the largest margin first.

    `features` [N, D], `labels` [N]. Classes with fewer than FEWEST_OTHERS other images are left
    out, and exact copies don't count as neighbours.
    """
    counts = np.bincount(labels)
    known = torch.from_numpy(labels)
    found = []
    for rows, cosines in _compare(features):
        cosine = cosines.masked_fill(cosines > 1 - 1e-6, -1.0)  # not itself, nor its copies
        nearest = cosine.topk(min(NEAREST, cosine.shape[1]), dim=1)
        theirs, own = known[nearest.indices], known[rows]
        is_stray = (theirs == theirs[:, :1]).all(dim=1) & (theirs[:, 0] != own)
        for place in torch.nonzero(is_stray).flatten().tolist():
            mine = int(own[place])
            if counts[mine] <= FEWEST_OTHERS:
                continue
            among_own = cosine[place][known == mine].topk(FEWEST_OTHERS).values.mean()
            margin = float(nearest.values[place, :FEWEST_OTHERS].mean() - among_own)
            first = int(nearest.indices[place, 0])
            found.append(SuspectedLabel(int(rows[place]), int(theirs[place, 0]), first, margin))
    return sorted(found, key=lambda stray: (-stray.margin, stray.row))[:most]


def find_near_duplicates(
    features: Tensor, parts: NDArray[np.int8], most: int = 20
) -> list[NearDuplicate]:
    """Pairs of images in different `parts` [N] whose features [N, D] are ALIKE, most similar first.

    Each image is paired with the most similar one of an earlier part, so that a picture that was
    stored many times is reported once for each copy.
    """
    known = torch.from_numpy(parts)
    found = []
    for rows, cosines in _compare(features):
        nearest = cosines.masked_fill(known[None] >= known[rows][:, None], -1.0).max(dim=1)
        for place in torch.nonzero(nearest.values >= ALIKE).flatten().tolist():
            value, other = float(nearest.values[place]), int(nearest.indices[place])
            found.append(NearDuplicate(int(rows[place]), other, value))
    return sorted(found, key=lambda twin: (-twin.cosine, twin.row))[:most]


def _compare(features: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of rows [B], and their cosines with all rows [B, N]."""
    unit = F.normalize(features.float(), dim=1)
    for start in range(0, len(unit), BLOCK):
        block = unit[start : start + BLOCK]
        yield torch.arange(start, start + len(block)), block @ unit.T
