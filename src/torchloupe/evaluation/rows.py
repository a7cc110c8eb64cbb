"""Rows of tensors collected from batches without holding on to the batches."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

SCORED_AT_ONCE = 4096  # images whose logits are scored together, and that a pile has room for


class RowBuffer:
    """Arrays of the same kind, put one on another in one block of memory.

    Kept one by one, the small ones that outlive their batch would lie between the large ones that
    don't, and glibc does not use such a gap for the next batch: memory would grow by every image.
    """

    def __init__(self, room: int = SCORED_AT_ONCE) -> None:
        """`room` for so many rows is made at first; it grows where more come."""
        self._room = room
        self._rows: NDArray[Any] | None = None
        self._count = 0

    def add(self, more: NDArray[Any]) -> None:
        """Copy in `more` [B, ...]."""
        end = self._count + len(more)
        if self._rows is None or end > len(self._rows):
            grown = np.empty((max(end, 2 * self._count, self._room), *more.shape[1:]), more.dtype)
            if self._rows is not None:
                grown[: self._count] = self._rows[: self._count]
            self._rows = grown
        self._rows[self._count : end] = more
        self._count = end

    def array(self) -> NDArray[Any]:
        """All that was added [N, ...]; of nothing, an array [0]."""
        return np.empty(0) if self._rows is None else self._rows[: self._count]
