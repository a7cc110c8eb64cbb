"""Images among their nearest neighbours: which stand in another class's midst, which stand twice.

It knows features, labels and splits as arrays; whose images they are is for the caller to say.
All rows are compared with all others, a block at a time: time grows with their square, memory
doesn't.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

NEAREST = 5  # neighbours that are asked for each image
FEWEST_OTHERS = 3  # further images of a class, below which nothing is said of it
ALIKE = 0.97  # cosine of features, from which on two images are nearly the same
BLOCK = 1024


@dataclass(frozen=True)
class SuspectedLabel:
    """An image that lies among another class: perhaps its label is wrong."""

    row: int
    among: int  # the class of its neighbours
    nearest: int  # the row of the nearest of them
    margin: float  # how much more like those neighbours it is than like its own class, in cosine


@dataclass(frozen=True)
class NearDuplicate:
    """Two images of different splits that are nearly the same."""

    row: int
    other: int
    cosine: float  # cosine of their features


def find_suspected_labels(
    features: Tensor, labels: NDArray[np.int64], most: int = 20
) -> list[SuspectedLabel]:
    """The images whose NEAREST neighbours are all of one other class, the oddest first.

    `features` [N, D], `labels` [N]. Classes of fewer than FEWEST_OTHERS further images are left
    out, and exact copies are not asked.
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
    """Pairs of images in different `parts` [N] whose features [N, D] are ALIKE, likest first.

    Of each image the likest in a part before its own is named, so that a picture that was stored
    many times is told once for each copy.
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
