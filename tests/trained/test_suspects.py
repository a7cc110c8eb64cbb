"""Suspected labels of a run: by its predictions and by its ledger, the likeliest first."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from torchloupe.data.samples import Samples, make_ids
from torchloupe.run.ledger import INDEX, VALUES, write_header, write_index
from torchloupe.trained.suspects import COLUMNS, NAME, list_suspects, write_suspects

SHARES = [[0.9, 0.1], [0.05, 0.95], [0.4, 0.6], [0.2, 0.8], [0.01, 0.99]]
MARGINS = [[3, 4, 5], [-2, -3, -4], [-1, 0, 1], [-1, -2, -3]]


def write_run(folder: Path, margins: list[list[float]], shares: list[list[float]]) -> Path:
    """A run of a test split whose images are all called cat, and of a ledger of dogs."""
    names = ("cat", "dog")
    table = {
        "id": [f"t{row}" for row in range(len(shares))],
        "label": pa.array(["cat"] * len(shares), pa.string()),
        "probabilities": shares,
    }
    facts = {"class_names": json.dumps(names)}
    pq.write_table(pa.table(table).replace_schema_metadata(facts), folder / "predictions.parquet")
    (folder / "metrics.json").write_text('{"test": {}}')
    margin = np.array(margins, dtype=np.float16).T
    values = np.stack([-margin, margin, margin > 0], axis=2).astype(np.float16)
    samples = Samples(make_ids([f"s{k}" for k in range(4)]), np.ones(4, np.int64), names)
    write_index(folder / INDEX, samples, np.arange(len(margins)))
    with (folder / VALUES).open("wb") as file:
        write_header(file, values.shape)
        file.write(values.tobytes())
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path, MARGINS, SHARES)


def test_images_whose_label_another_class_contradicts_are_listed(folder: Path) -> None:
    found = list_suspects(folder)
    assert [(s["id"], s["split"]) for s in found] == [
        ("t4", "test"),
        ("t1", "test"),
        ("s1", "train"),
        ("s3", "train"),
    ]
    assert found[0] == {
        "id": "t4",
        "split": "test",
        "label": "cat",
        "proposed": "dog",
        "score": found[0]["score"],
    }
    assert found[0]["score"] > found[1]["score"] > 0
    assert found[2]["score"] == 3.0


def test_a_ledger_of_two_epochs_accuses_nobody(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [pair[:2] for pair in MARGINS], SHARES[:1])
    assert list_suspects(folder) == []


def test_they_are_written_as_csv(folder: Path) -> None:
    write_suspects(folder, "test")
    with (folder / NAME).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["id"] for row in rows] == ["t4", "t1", "s1", "s3"]


def test_a_folder_without_predictions_and_ledger_has_none(tmp_path: Path) -> None:
    assert list_suspects(tmp_path) == []


def test_a_verdict_says_how_many_labels_of_both_kinds_there_are(tmp_path: Path) -> None:
    shares = [[0.98, 0.02]] * 60 + [[0.02, 0.98]] * 8
    (found,) = write_suspects(write_run(tmp_path, MARGINS, shares), "test")
    assert (found.verdict, found.level, found.where) == ("suspected-labels", "note", "test")
    assert found.numbers == {"held_out": 8 / 68, "train": 0.5}
    assert found.samples[0] == "t60"
    assert "8 of 68 labels of test with 4 times" in found.seen
    assert "2 of 4 training labels" in found.seen


def test_few_suspected_labels_are_listed_and_no_verdict(tmp_path: Path) -> None:
    folder = write_run(tmp_path, MARGINS, [[0.9, 0.1]] * 27 + [[0.1, 0.9]] * 3)
    assert write_suspects(folder, "test") == []
    assert [s["split"] for s in list_suspects(folder)] == ["test"] * 3 + ["train"] * 2
