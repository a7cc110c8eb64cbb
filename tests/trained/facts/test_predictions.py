"""predictions.parquet, read back."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_predictions import make_predictions

from torchloupe.trained.facts.predictions import read_predictions


def write_table(path, labels, said, probabilities, names):
    table = pa.table(
        {
            "id": [str(k) for k in range(len(labels))],
            "label": labels,
            "prediction": said,
            "confidence": np.max(probabilities, axis=1),
            "probabilities": pa.FixedSizeListArray.from_arrays(
                pa.array(np.ravel(probabilities).astype(np.float32)), len(names)
            ),
        }
    ).replace_schema_metadata({"class_names": json.dumps(names)})
    pq.write_table(table, path)


def test_labels_are_numbers_and_probabilities_an_array(tmp_path):
    path = tmp_path / "predictions.parquet"
    write_table(path, ["b", "a"], ["b", "b"], [[0.2, 0.8], [0.4, 0.6]], ["a", "b"])
    found = read_predictions(path, ("a", "b"))
    assert found.labels.tolist() == [1, 0]
    assert found.right.tolist() == [True, False]
    assert found.probabilities == pytest.approx(np.array([[0.2, 0.8], [0.4, 0.6]]), abs=1e-6)
    assert (found.label_of(0), found.said_of(1)) == (1, 1)


def test_several_labels_are_rows_of_0_and_1(tmp_path):
    path = tmp_path / "predictions.parquet"
    write_table(path, [["a", "b"], []], [["a"], []], [[0.9, 0.4], [0.1, 0.3]], ["a", "b"])
    found = read_predictions(path, ("a", "b"))
    assert found.multi_label
    assert found.labels.tolist() == [[1, 1], [0, 0]]
    assert found.right.tolist() == [False, True]
    assert found.label_of(0) == [0, 1]
    assert found.sureness == pytest.approx([0.6, 0.7], abs=1e-6)


def test_a_table_of_other_classes_is_not_used(tmp_path):
    path = tmp_path / "predictions.parquet"
    write_table(path, ["b"], ["b"], [[0.2, 0.8]], ["a", "b"])
    assert read_predictions(path, ("a", "c")) is None
    assert read_predictions(tmp_path / "none.parquet", ("a",)) is None


def test_made_predictions_agree_with_their_probabilities():
    found = make_predictions([0, 1, 1], [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    assert found.right.tolist() == [True, False, True]
