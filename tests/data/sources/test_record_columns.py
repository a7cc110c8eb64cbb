"""JSON as pandas writes frames, with lists by column, and with rows of paths and labels."""

import json

import pytest
from trees import ids, labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.record_columns import is_image_name, read_columns, read_rows

NAMES = ["a.png", "b.png", "c.png", "d.png"]
LABELS = ["cat", "dog", "dog", "cat"]
NUMBERS = [0, 1, 1, 0]
PAIRS = dict(zip(NAMES, LABELS, strict=True))
BY_ROW = dict(enumerate(LABELS))
ROWS = [list(pair) for pair in zip(NAMES, NUMBERS, strict=True)]


def open_json(folder, content):
    plant(folder, *NAMES)
    return open_data(write(folder, "dataset.json", json.dumps(content)))


@pytest.mark.parametrize(
    "content",
    [
        {"label": PAIRS},
        {"animal": PAIRS},
        {"label": PAIRS, "size": dict.fromkeys(NAMES, 3)},
        {"label": {name[0]: label for name, label in PAIRS.items()}},
        {"id": {str(k): n[0] for k, n in enumerate(NAMES)}, "label": BY_ROW},
        {"image": dict(enumerate(NAMES)), "label": BY_ROW},
        {"columns": ["label"], "index": NAMES, "data": [[label] for label in LABELS]},
        {"name": "label", "index": NAMES, "data": LABELS},
        {"cat": {n: 1 - k for n, k in ROWS}, "dog": dict(ROWS)},
        {"filenames": NAMES, "labels": LABELS},
    ],
)  # fmt: skip
def test_frames_of_pandas(tmp_path, content):
    data = open_json(tmp_path, content)
    assert (ids(data), labels(data)) == (NAMES, LABELS)


@pytest.mark.parametrize("orient", ["columns", "index", "split", "records", "table"])
def test_frames_as_pandas_itself_writes_them(tmp_path, orient):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"label": LABELS, "size": [3, 4, 5, 6]}, index=NAMES)
    frame = frame.reset_index() if orient == "records" else frame
    data = open_json(tmp_path, json.loads(frame.to_json(orient=orient)))
    assert (ids(data), labels(data)) == (NAMES, LABELS)


@pytest.mark.parametrize(
    ("content", "classes"),
    [
        ({"labels": ROWS}, ("0", "1")),
        ({"labels": ROWS, "classes": ["cat", "dog"]}, ("cat", "dog")),
        ({"labels": [[n, [1 - k, k]] for n, k in ROWS], "classes": ["cat", "dog"]}, ("cat", "dog")),
        ({"data": ROWS, "version": 3}, ("0", "1")),
        (ROWS, ("0", "1")),
    ],
)
def test_rows_of_path_and_label(tmp_path, content, classes):
    data = open_json(tmp_path, content)
    assert data.samples.class_names == classes
    assert data.samples.labels.tolist() == NUMBERS


@pytest.mark.parametrize("content", [{}, {"a": 1}, {"0.png": {"label": 1}}, {"a": {}, "b": {}},
                                     {"a": {"x": 1}, "b": {"y": 2}}])  # fmt: skip
def test_other_objects_hold_no_columns(content):
    assert read_columns(content) == ([], {})


def test_other_rows_are_none():
    assert read_rows([["a.png", 1], ["b.png"]]) == []
    assert read_rows([["a", 1], ["b", 2]]) == []
    assert is_image_name("a.JPG") and not is_image_name("a") and not is_image_name(3)
