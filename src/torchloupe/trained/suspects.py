"""Labels of a finished run that are probably wrong: RUN/suspected-labels.csv.

Of the split that predictions.parquet holds, images for which the model, which has not seen them,
gives another class four times the probability of the label. Of the training split, images for which
the mean margin over the epochs, in the ledger, says the same.
"""

import csv
import io
import json
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from torchloupe.checks.label_noise import (
    LEAST,
    ODDS,
    Unfitted,
    count_contradictions,
    judge_suspects,
    score_labels,
)
from torchloupe.errors import CheckpointError
from torchloupe.run.events import Verdict
from torchloupe.run.json_files import read_json
from torchloupe.system import files
from torchloupe.system.arrow import numbers_of, read_table
from torchloupe.trained.samples import SampleTable, read_samples

NAME = "suspected-labels.csv"
COLUMNS = ("id", "split", "label", "proposed", "score")
LEAST_ODDS = math.log(ODDS)
FEWEST_EPOCHS = 3  # of the ledger, below which margins are those of a model that knows nothing


def list_suspects(folder: Path) -> list[dict[str, Any]]:
    """The suspected labels, those of images that were not trained on first, as plain values.

    `score` is that of `score_labels`, or less the mean margin. No
    label is suspected where an image may have several.
    """
    metrics = folder / "metrics.json"
    split = "test" if metrics.is_file() and "test" in read_json(metrics) else "val"
    return [*_held_out(_read_predictions(folder), split), *_trained(_read_ledger(folder))]


def write_suspects(folder: Path, split: str) -> list[Verdict]:
    """Write RUN/suspected-labels.csv, its header alone where no label is suspected.

    `split` is that of predictions.parquet. Returns what the suspected labels say.
    """
    found, table = _read_predictions(folder), _read_ledger(folder)
    held_out, trained = list(_held_out(found, split)), list(_trained(table))
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*held_out, *trained])
    files.replace_file(folder / NAME, text.getvalue().encode("utf-8", "surrogateescape"))
    if found is None:
        return []
    counted = count_contradictions(found.shares, found.labels)
    ids = [str(fact["id"]) for fact in (*held_out, *trained)]
    return judge_suspects(counted, split, ids, _count_trained(table, {f["id"] for f in trained}))


def _read_ledger(folder: Path) -> SampleTable | None:
    with suppress(CheckpointError):  # a stream, a head, or switched off
        return read_samples(folder)
    return None


def _count_trained(table: SampleTable | None, suspected: set[str]) -> Unfitted:
    if table is None:
        return Unfitted()
    others = np.array([str(name) not in suspected for name in table.ids])
    right = table.right[-1][others].astype(np.float64) if table.epochs else np.zeros(0)
    known = right[~np.isnan(right)]
    return Unfitted(len(suspected), len(table), float(known.mean()) if len(known) else 0.0)


@dataclass(frozen=True, eq=False)
class _Predicted:
    """What predictions.parquet says of N images of one label each."""

    ids: list[str]
    names: list[str]  # of the classes
    labels: NDArray[np.int64]
    shares: NDArray[np.float64]  # [N, K] probabilities


def _read_predictions(folder: Path) -> _Predicted | None:
    path = folder / "predictions.parquet"
    if not path.is_file():
        return None
    table = read_table(path)
    is_single = pa.types.is_string(table.schema.field("label").type)
    if not is_single or "probabilities" not in table.column_names or not len(table):
        return None
    names = json.loads((table.schema.metadata or {})[b"class_names"])
    number = {name: k for k, name in enumerate(names)}
    labels = np.array([number[name] for name in table["label"].to_pylist()])
    shares = numbers_of(table["probabilities"]).reshape(len(table), -1).astype(np.float64)
    return _Predicted(table["id"].to_pylist(), names, labels, shares)


def _held_out(found: _Predicted | None, split: str) -> Iterator[dict[str, Any]]:
    if found is None:
        return
    labels, shares = found.labels, found.shares
    scores, proposed = score_labels(shares, labels)
    rows = np.arange(len(labels))
    odds = np.log(shares[rows, proposed] + LEAST) - np.log(shares[rows, labels] + LEAST)
    for row in np.argsort(-scores, kind="stable").tolist():
        if odds[row] < LEAST_ODDS:
            continue
        names = found.names
        label, other = names[labels[row]], names[proposed[row]]
        yield _fact(found.ids[row], split, label, other, scores[row])


def _trained(table: SampleTable | None) -> Iterator[dict[str, Any]]:
    if table is None or table.epochs < FEWEST_EPOCHS or not isinstance(table.labels[0], str):
        return
    margin = np.nan_to_num(table.mean_margin(), nan=np.inf)
    for row in np.argsort(margin, kind="stable").tolist():
        if margin[row] > -LEAST_ODDS:
            return
        yield _fact(table.ids[row], "train", table.labels[row], "", -margin[row])


def _fact(*values: Any) -> dict[str, Any]:
    facts = dict(zip(COLUMNS, values, strict=True))
    return {**facts, "id": str(facts["id"]), "score": round(float(facts["score"]), 4)}
