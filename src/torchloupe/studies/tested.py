"""The predictions that a run wrote at its end, as a table in the order of the ids."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from torchloupe.errors import CheckpointError, printable
from torchloupe.evaluation.calibration import brier_of_images
from torchloupe.evaluation.resampling import Answers
from torchloupe.system.arrow import numbers_of

SEVERAL = ", "  # between the labels of one image


@dataclass(frozen=True)
class Tested:
    """predictions.parquet of a run, sorted by id."""

    folder: Path
    ids: NDArray[Any]  # [N] of str
    labels: tuple[str, ...]  # [N]; several labels of an image are joined
    predictions: tuple[str, ...]
    confidences: NDArray[np.float64]
    probabilities: NDArray[np.float32] | None  # [N, K]
    class_names: tuple[str, ...]
    multi_label: bool
    label_sets: tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]

    def answers(self, class_names: Sequence[str]) -> Answers:
        """The answers with classes numbered as in `class_names`, which holds all of this run.

        A class that this run doesn't know has probability 0.
        """
        number = {name: k for k, name in enumerate(class_names)}
        count = len(class_names)
        p = self.probabilities
        if p is not None:
            wider = np.zeros((len(p), count), p.dtype)
            wider[:, [number[name] for name in self.class_names]] = p
            p = wider
        labels, predictions = (self._numbers(part, number) for part in self.label_sets)
        values = {} if p is None else {"brier": brier_of_images(p, labels)}
        return Answers(labels, predictions, p, count, values)

    def _numbers(self, sets: Sequence[Sequence[str]], number: dict[str, int]) -> NDArray[np.int64]:
        if not self.multi_label:
            return np.array([number[names[0]] for names in sets], np.int64)
        rows = np.zeros((len(sets), len(number)), np.int64)
        for row, names in zip(rows, sets, strict=True):
            row[[number[name] for name in names]] = 1
        return rows


def read_tested(folder: Path) -> Tested:
    """The predictions of the run in `folder`; CheckpointError where they can't be read."""
    path = folder / "predictions.parquet"
    try:
        table = pq.read_table(path).sort_by("id")
        class_names = tuple(json.loads(table.schema.metadata[b"class_names"]))
        multi_label = pa.types.is_list(table.schema.field("label").type)
        sets = tuple(
            tuple((item,) if isinstance(item, str) else tuple(item) for item in column.to_pylist())
            for column in (table["label"], table["prediction"])
        )
        probabilities = None
        if "probabilities" in table.column_names:
            flat = numbers_of(table["probabilities"])
            probabilities = flat.reshape(len(table), len(class_names)).astype(np.float32)
        return Tested(
            folder=folder,
            ids=np.array(table["id"].to_pylist()),
            labels=tuple(SEVERAL.join(names) for names in sets[0]),
            predictions=tuple(SEVERAL.join(names) for names in sets[1]),
            confidences=numbers_of(table["confidence"]).astype(np.float64),
            probabilities=probabilities,
            class_names=class_names,
            multi_label=multi_label,
            label_sets=(sets[0], sets[1]),
        )
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{printable(path)} can't be read ({printable(error)})",
            "a finished run has predictions: go on with it by `loupe resume`",
        ) from None
