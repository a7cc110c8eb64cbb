"""The table of samples: what there is to learn from, frozen, in arrays, without pixels.

It knows names and labels, not how to read an image (sources do) nor which sample is used for
what (split does).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.system.counter_rng import Keys, make_keys


@dataclass(frozen=True, eq=False)
class Samples:
    """N samples: stable ids, labels and class names.

    An id (a relative path with `/`, or a row number as text) names the image in every message
    and keys its randomness. Labels are [N] int64 class numbers, or [N, K] float32 of 0 and 1
    where an image may have several labels. `groups` [N] (optional) marks samples that must
    stay on one side of a split. `known_keys` [N] are the keys of these ids, if they were made
    before.
    """

    ids: NDArray[Any]  # [N] numpy StringDType: 16 bytes an entry, no Python objects
    labels: NDArray[Any]
    class_names: tuple[str, ...]
    groups: NDArray[Any] | None = None
    known_keys: Keys | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_multi_label(self) -> bool:
        """Whether an image may have several labels (labels are [N, K])."""
        return self.labels.ndim == 2

    @cached_property
    def keys(self) -> Keys:
        """A 64-bit key [N] for each id, from which its order and augmentation are drawn."""
        return make_keys(self.ids) if self.known_keys is None else self.known_keys

    def take(self, rows: NDArray[np.int64]) -> "Samples":
        """The samples at `rows`, in that order."""
        groups = None if self.groups is None else self.groups[rows]
        ids, labels, keys = self.ids[rows], self.labels[rows], self.keys[rows]
        return replace(self, ids=ids, labels=labels, groups=groups, known_keys=keys)

    def class_counts(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """How many samples each class has [K], of all or of those at `rows`."""
        labels = self.labels if rows is None else self.labels[rows]
        if self.is_multi_label:
            return np.asarray((labels > 0.5).sum(0), dtype=np.int64)
        return np.bincount(labels, minlength=len(self.class_names)).astype(np.int64)

    def fingerprint(self, content: Keys | None = None) -> str:
        """SHA-256 over ids, labels, class names and, if given, the content hash of each image.

        The order in which the samples are listed does not change it.
        """
        order = np.argsort(self.keys, kind="stable")
        digest = sha256("\0".join(self.class_names).encode("utf-8", "surrogateescape"))
        for part in (self.keys, self.labels, content):
            if part is not None:
                digest.update(np.ascontiguousarray(part[order]).tobytes())
        return digest.hexdigest()


def make_ids(names: Sequence[str] | range) -> NDArray[Any]:
    """The ids array of these names; a range gives row numbers."""
    return np.array([str(name) for name in names], dtype=np.dtypes.StringDType())
