"""The predictions of a run as arrays: predictions.parquet, read back."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.system.arrow import numbers_of, read_table

Truth = NDArray[Any]  # class numbers [N], or 0 and 1 [N, K] where images have several labels


@dataclass(frozen=True, eq=False)
class Predictions:
    """What the model said of the N images of the evaluated split, in the order of the table."""

    ids: tuple[str, ...]
    labels: Truth
    predicted: Truth
    confidence: NDArray[np.float64]  # [N] the largest probability
    probabilities: NDArray[np.float64] | None  # [N, K]; None where there are too many classes
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels."""
        return self.labels.ndim == 2

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Which images are right [N]; with several labels, where all of them are."""
        same = self.labels == self.predicted
        return np.asarray(same.all(axis=1) if self.multi_label else same, dtype=np.bool_)

    @cached_property
    def sureness(self) -> NDArray[np.float64]:
        """How sure the model is of its answer [N]: the probability of all that it said.

        With several labels that is the least sure of them, from 0.5 to 1.
        """
        if not self.multi_label or self.probabilities is None:
            return self.confidence
        p = self.probabilities
        return np.asarray(np.maximum(p, 1 - p).min(axis=1))

    def label_of(self, place: int) -> int | list[int]:
        """The label of an image as a class number, or several as a list."""
        return _plain(self.labels[place])

    def said_of(self, place: int) -> int | list[int]:
        """The prediction of an image, likewise."""
        return _plain(self.predicted[place])


def read_predictions(path: Path, class_names: tuple[str, ...]) -> Predictions | None:
    """The table at `path`; None where there is none, or where it is of other classes."""
    if not path.is_file():
        return None
    table = read_table(path)
    names = tuple(json.loads((table.schema.metadata or {}).get(b"class_names", b"null") or "null"))
    if names != class_names or not len(table):
        return None
    number = {name: k for k, name in enumerate(names)}
    labels, said = table["label"].to_pylist(), table["prediction"].to_pylist()
    probabilities = None
    if "probabilities" in table.column_names:
        flat = numbers_of(table["probabilities"])
        probabilities = flat.reshape(len(table), len(names)).astype(np.float64)
    return Predictions(
        tuple(table["id"].to_pylist()),
        _as_numbers(labels, number),
        _as_numbers(said, number),
        numbers_of(table["confidence"]).astype(np.float64),
        probabilities,
        names,
    )


def _as_numbers(labels: list[Any], number: dict[str, int]) -> Truth:
    """Class numbers [N] of names, or rows of 0 and 1 [N, K] of lists of names."""
    if not isinstance(labels[0], list):
        return np.array([number[name] for name in labels], dtype=np.int64)
    found = np.zeros((len(labels), len(number)), dtype=np.int64)
    for row, several in enumerate(labels):
        found[row, [number[name] for name in several]] = 1
    return found


def _plain(label: Any) -> int | list[int]:
    return int(label) if np.ndim(label) == 0 else [int(k) for k in np.flatnonzero(label > 0.5)]
