"""Rows of tensors collected from batches without holding on to the batches."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

SCORED_AT_ONCE = 4096  # images whose logits are scored together


class RowBuffer:
    """Rows of equal dtype and shape, appended into one growing array.

    Small arrays kept one by one would fragment the heap between the large ones of a batch, and
    glibc does not reuse such gaps for the next batch: memory would grow with every image.
    """

    def __init__(self, room: int = SCORED_AT_ONCE) -> None:
        """Allocates `room` rows at first, and more when they are needed."""
        self._room = room
        self._rows: NDArray[Any] | None = None
        self._count = 0

    def add(self, more: NDArray[Any]) -> None:
        """Append a copy of `more` [B, ...]."""
        end = self._count + len(more)
        if self._rows is None or end > len(self._rows):
            grown = np.empty((max(end, 2 * self._count, self._room), *more.shape[1:]), more.dtype)
            if self._rows is not None:
                grown[: self._count] = self._rows[: self._count]
            self._rows = grown
        self._rows[self._count : end] = more
        self._count = end

    def array(self) -> NDArray[Any]:
        """All rows added so far [N, ...]; an array [0] if none were."""
        return np.empty(0) if self._rows is None else self._rows[: self._count]
