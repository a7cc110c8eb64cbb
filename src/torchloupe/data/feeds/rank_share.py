"""A rank's part of a batch: each rank takes its own, and together they are the whole batch.

When a batch has fewer samples than there are ranks, the ranks without one compute the first
sample as padding, with weight 0: the collective operations need every rank.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class BatchShare:
    """The rows that a rank processes in one step."""

    rows: Rows  # its own, or one of padding; then the neighbours that these are mixed with
    count: int  # how many of them, from the first on, are processed
    total: int = 0  # samples of the step over all ranks; 0: these are all of them
    is_padding: bool = False


@dataclass(frozen=True)
class RankShare:
    """Share `number` of `size` equal ones; sizes differ by one at most, the first is largest."""

    number: int = 0
    size: int = 1

    def span(self, total: int) -> slice:
        """The places of this part among `total`; none if there are fewer than parts."""
        return slice(
            -(-total * self.number // self.size), -(-total * (self.number + 1) // self.size)
        )

    def take(self, rows: Rows, neighbours: int = 0) -> BatchShare:
        """This part of a batch's `rows` [B], and as many `neighbours` after it as asked for."""
        total = len(rows)
        if self.size == 1:
            return BatchShare(rows, total)
        span = self.span(total)
        is_padding = span.start >= span.stop
        if is_padding:
            span = slice(0, 1)
        places = np.arange(span.start, span.stop + neighbours) % total
        return BatchShare(rows[places], span.stop - span.start, total, is_padding)


WHOLE = RankShare()
