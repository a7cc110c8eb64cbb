"""The training samples of a finished run: how each was learned, epoch by epoch.

Forgetting is counted after Toneva et al. 2019, "An empirical study of example forgetting": right in
one epoch, wrong in the next. The mean margin over the epochs is the area under the margin of
Pleiss et al. 2020.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.run.ledger import COLUMNS, read_ledger

Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SampleTable:
    """N training samples over E epochs; `values` [E, N, 3] are mapped from the disk.

    NaN where an epoch did not read a sample, or mixed it with another one.
    """

    ids: NDArray[Any]  # [N] texts
    labels: NDArray[Any]  # [N] class names; lists of them where there are several
    values: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"SampleTable({len(self):,} samples, {self.epochs} epochs)"

    @property
    def epochs(self) -> int:
        """How many epochs there are."""
        return len(self.values)

    @property
    def loss(self) -> NDArray[np.float16]:
        """The loss [E, N]: cross entropy, or binary cross entropy of several labels."""
        return self.values[:, :, COLUMNS.index("loss")]

    @property
    def margin(self) -> NDArray[np.float16]:
        """By how much the logit of the label exceeds the highest other one [E, N]."""
        return self.values[:, :, COLUMNS.index("margin")]

    @property
    def right(self) -> NDArray[np.float16]:
        """1 where the label was predicted, else 0 [E, N]."""
        return self.values[:, :, COLUMNS.index("right")]

    def mean_margin(self) -> NDArray[np.float64]:
        """The area under the margin [N]: low for labels that are probably wrong."""
        return _mean(self.margin)

    def forgotten(self) -> NDArray[np.int64]:
        """How often each sample was right and then wrong again [N]."""
        counts = np.zeros(len(self), dtype=np.int64)
        before = np.full(len(self), np.nan, dtype=np.float16)
        for right in self.right:
            counts += (before == 1) & (right == 0)
            before = np.where(np.isnan(right), before, right)
        return counts

    def learned_epoch(self) -> NDArray[np.int64]:
        """The epoch (from 0) from which on each sample stayed right [N]; -1: wrong at the end."""
        learned = np.full(len(self), -1, dtype=np.int64)
        for epoch, right in enumerate(self.right):
            learned[right == 0] = -1
            learned[(right == 1) & (learned < 0)] = epoch
        return learned

    def rank(self) -> dict[str, Places]:
        """Places of samples in the table, by kind, the most striking first.

        `forgotten` most often, `never_learned` (wrong whenever they were read, the lowest mean
        margin first) and `learned_last` (right at the end, and the latest to become so).
        """
        margin, forgotten, learned = self.mean_margin(), self.forgotten(), self.learned_epoch()
        was_right, was_read = np.zeros(len(self), bool), np.zeros(len(self), bool)
        for right in self.right:
            was_right |= right == 1
            was_read |= ~np.isnan(right)
        by_margin = np.argsort(np.where(np.isnan(margin), np.inf, margin), kind="stable")
        often = by_margin[np.argsort(-forgotten[by_margin], kind="stable")]
        late = by_margin[np.argsort(-learned[by_margin], kind="stable")]
        return {
            "forgotten": often[forgotten[often] > 0],
            "never_learned": by_margin[(was_read & ~was_right)[by_margin]],
            "learned_last": late[learned[late] > 0],
        }

    def describe(self, place: int) -> dict[str, Any]:
        """The facts of one sample as plain values."""
        one = SampleTable(
            self.ids[place : place + 1],
            self.labels[place : place + 1],
            self.values[:, place : place + 1],
        )
        learned, margin = int(one.learned_epoch()[0]), float(one.mean_margin()[0])
        label = self.labels[place]
        return {
            "id": str(self.ids[place]),
            "label": label if isinstance(label, str) else ", ".join(label),
            "forgotten": int(one.forgotten()[0]),
            "learned_epoch": None if learned < 0 else learned,
            "mean_margin": round(margin, 4),
        }


def read_samples(folder: Path) -> SampleTable:
    """The table of the training samples in a run folder; see `read_ledger` for its errors."""
    values, index = read_ledger(folder)
    labels = np.empty(len(index), dtype=object)
    labels[:] = index["label"].to_pylist()
    return SampleTable(np.array(index["id"].to_pylist(), dtype=object), labels, values)


def _mean(values: NDArray[np.float16]) -> NDArray[np.float64]:
    """The mean over epochs [N] of numbers [E, N], NaN left out."""
    total, count = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for row in values:
        is_known = ~np.isnan(row)
        total[is_known] += row[is_known]
        count += is_known
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
