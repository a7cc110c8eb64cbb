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
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from torchloupe.checks.label_noise import LEAST, score_labels
from torchloupe.errors import CheckpointError
from torchloupe.run.json_files import read_json
from torchloupe.system import files
from torchloupe.trained.samples import read_samples

NAME = "suspected-labels.csv"
COLUMNS = ("id", "split", "label", "proposed", "score")
LEAST_ODDS = math.log(4)  # of another class, so that a model that knows little accuses no label
FEWEST_EPOCHS = 3  # of the ledger, below which margins are those of a model that knows nothing


def list_suspects(folder: Path) -> list[dict[str, Any]]:
    """The suspected labels, those of images that were not trained on first, as plain values.

    `score` is that of `score_labels`, or less the mean margin. No
    label is suspected where an image may have several.
    """
    return [*_held_out(folder), *_trained(folder)]


def write_suspects(folder: Path) -> None:
    """Write RUN/suspected-labels.csv; its header alone where no label is suspected."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(list_suspects(folder))
    files.replace_file(folder / NAME, text.getvalue().encode("utf-8", "surrogateescape"))


def _held_out(folder: Path) -> Iterator[dict[str, Any]]:
    path = folder / "predictions.parquet"
    if not path.is_file():
        return
    table = pq.read_table(path)
    is_single = pa.types.is_string(table.schema.field("label").type)
    if not is_single or "probabilities" not in table.column_names or not len(table):
        return
    names = json.loads((table.schema.metadata or {})[b"class_names"])
    number = {name: k for k, name in enumerate(names)}
    labels = np.array([number[name] for name in table["label"].to_pylist()])
    shares = np.array(table["probabilities"].to_pylist())
    scores, proposed = score_labels(shares, labels)
    rows = np.arange(len(labels))
    odds = np.log(shares[rows, proposed] + LEAST) - np.log(shares[rows, labels] + LEAST)
    ids = table["id"].to_pylist()
    split = "test" if "test" in read_json(folder / "metrics.json") else "val"
    for row in np.argsort(-scores, kind="stable").tolist():
        if odds[row] < LEAST_ODDS:
            continue
        yield _fact(ids[row], split, names[labels[row]], names[proposed[row]], scores[row])


def _trained(folder: Path) -> Iterator[dict[str, Any]]:
    try:
        table = read_samples(folder)
    except CheckpointError:  # a stream, a head, or switched off
        return
    if table.epochs < FEWEST_EPOCHS or not isinstance(table.labels[0], str):
        return
    margin = np.nan_to_num(table.mean_margin(), nan=np.inf)
    for row in np.argsort(margin, kind="stable").tolist():
        if margin[row] > -LEAST_ODDS:
            return
        yield _fact(table.ids[row], "train", table.labels[row], "", -margin[row])


def _fact(*values: Any) -> dict[str, Any]:
    facts = dict(zip(COLUMNS, values, strict=True))
    return {**facts, "id": str(facts["id"]), "score": round(float(facts["score"]), 4)}
