"""Whether two computations of one network agree, judged by their logits.

Probabilities alone can't tell of a network that is sure of every image, or says the same of all:
they hardly move whatever goes in.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDING_SHARE = 1 / 50  # of the tolerance: what rounding may be of the largest logit


@dataclass(frozen=True)
class LogitGap:
    """How far logits are apart: the largest difference, what images change, and the largest logit.

    `spread` is how far the logits of a class are apart from image to image, of the class where
    they are furthest apart.
    """

    largest: float
    spread: float
    magnitude: float

    def is_within(self, tolerance: float) -> bool:
        """Whether the difference is that small a share of the spread, rounding aside."""
        rounding = tolerance * ROUNDING_SHARE * self.magnitude
        return self.largest <= tolerance * self.spread + rounding

    def tells(self, tolerance: float) -> bool:
        """Whether agreement says something: images move logits by far more than rounding may."""
        return self.spread > tolerance * self.magnitude


def find_gap(found: NDArray[Any], wanted: NDArray[Any]) -> LogitGap:
    """The gap of logits [B, K] to those that are wanted; infinite where one is not a number."""
    if not (np.isfinite(found).all() and np.isfinite(wanted).all()):
        return LogitGap(float("inf"), 0.0, 0.0)
    gap = np.abs(found.astype(np.float64) - wanted).max(initial=0.0)
    spread = np.ptp(wanted.astype(np.float64), axis=0).max(initial=0.0)
    return LogitGap(float(gap), float(spread), float(np.abs(wanted).max(initial=0.0)))
