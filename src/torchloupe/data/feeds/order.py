"""The order in which samples are visited: batches of row numbers for any step, in O(1).

Nothing here moves forward: the batch of a step is a function of (seed, step), so a resumed run
asks for its next step and gets the batch it would have had.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from torchloupe.errors import DataError, UsageError
from torchloupe.system.counter_rng import Keys, permutation


class Order:
    """Batches of `rows` for every step of an endless training, epoch after epoch.

    Each epoch visits every row once, shuffled by (seed, epoch, key of the sample); its last
    batch may be smaller, or is left out where it `drops_last`. `keys` [N] holds the key of every
    sample there is and is looked up by row, as labels are. Safe to ask from several threads.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        keys: Keys,
        batch_total: int,
        seed: int,
        drops_last: bool = False,
    ) -> None:
        if len(rows) == 0:
            raise DataError(
                "there is no sample to put in order", "give at least one training image"
            )
        if batch_total < 1:
            raise UsageError(
                f"batch_total is {batch_total}; a batch holds at least one sample",
                "give train.batch_total a positive number",
            )
        if drops_last and len(rows) < batch_total:
            raise UsageError(
                f"drop_last leaves no batch: there are {len(rows)} training images and batches of "
                f"{batch_total}",
                "use smaller batches, or drop_last=False",
            )
        self.drops_last = drops_last
        self.rows = np.asarray(rows, dtype=np.int64)
        self.batch_total = batch_total
        self.seed = seed
        self._keys = keys[self.rows]
        self._cached: tuple[int, NDArray[np.int64]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has, a smaller last one included unless it is left out."""
        if self.drops_last:
            return len(self.rows) // self.batch_total
        return -(-len(self.rows) // self.batch_total)

    def epoch_of(self, step: int) -> int:
        """The epoch (from 0) that `step` (from 0) belongs to."""
        return step // self.steps_per_epoch

    def epoch_rows(self, epoch: int) -> NDArray[np.int64]:
        """All rows [len(rows)] in the order in which `epoch` visits them."""
        cached = self._cached  # one read: another thread may replace it meanwhile
        if cached is None or cached[0] != epoch:
            cached = (epoch, self.rows[permutation(self.seed, epoch, self._keys)])
            self._cached = cached
        return cached[1]

    def batch(self, step: int) -> NDArray[np.int64]:
        """The rows of the batch of `step`, at most batch_total of them."""
        if step < 0:
            raise UsageError(f"step {step} is before the first, 0", "count steps from 0")
        start = step % self.steps_per_epoch * self.batch_total
        return self.epoch_rows(self.epoch_of(step))[start : start + self.batch_total]

    def batches(self, start_step: int = 0) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """(epoch, rows) of every step from `start_step` on, without end."""
        step = start_step
        while True:
            yield self.epoch_of(step), self.batch(step)
            step += 1
