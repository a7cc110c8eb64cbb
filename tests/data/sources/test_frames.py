"""Data frames in memory: pandas, polars (here objects that behave like them) and Arrow."""

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from torchloupe.data.sources import open_data
from torchloupe.errors import DataError


class Series:
    """A column that behaves like one of pandas."""

    def __init__(self, values):
        self.values = list(values)

    def tolist(self):
        return self.values


class Frame:
    """A table that behaves like a DataFrame of pandas."""

    iloc = None

    def __init__(self, **columns):
        self.columns = list(columns)
        self._columns = columns

    def __getitem__(self, name):
        return Series(self._columns[name])

    def __len__(self):
        return len(next(iter(self._columns.values())))


def save(folder, count=4):
    for k in range(count):
        Image.new("L", (4, 4), k).save(folder / f"{k}.png")
    return [str(folder / f"{k}.png") for k in range(count)]


@pytest.mark.parametrize("make", [Frame, lambda **columns: pa.table(columns)])
def test_frames_of_paths_and_labels(tmp_path, make):
    paths = save(tmp_path)
    data = open_data(make(filename=paths, label=["cat", "dog", "cat", "dog"], size=[1, 2, 3, 4]))
    assert data.kind == "table"
    assert data.samples.class_names == ("cat", "dog")
    assert data.samples.labels.tolist() == [0, 1, 0, 1]
    assert len(data.reader.read(1)) > 0


def test_frames_give_splits_by_a_column_or_one_a_split(tmp_path):
    paths, labels = save(tmp_path), [0, 1, 0, 1]
    words = ["train", "train", "Test", "val"]
    data = open_data(Frame(path=paths, target=labels, split=words))
    assert data.given.tolist() == [0, 0, 1, 2]
    assert data.samples.labels.tolist() == [0, 1, 1, 0]
    pair = Frame(path=paths, label=labels), Frame(path=paths[:2], label=labels[:2])
    assert open_data(pair).given.tolist() == [0, 0, 0, 0, 1, 1]


def test_frames_have_the_columns_that_tables_have(tmp_path):
    paths = save(tmp_path)
    for columns in ({"img_path": paths, "label": "abab"}, {"id_code": paths, "diagnosis": "abab"}):
        data = open_data(Frame(**columns, fold=[0, 1, 2, 3]))
        assert data.samples.class_names == ("a", "b")


def test_frames_of_arrays(tmp_path):
    images = [np.full((4, 4), k, np.uint8) for k in range(4)]
    assert open_data(Frame(image=images, label=[0, 1, 0, 1])).kind == "arrays"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"path": ["a.png"], "image": ["a.png"], "label": [0]},
            "of the frame's columns 'path', 'image' several columns may be the image",
        ),
        (
            {"path": ["a.png"], "a": [0], "b": [1]},
            "of the frame's columns 'a', 'b' no column is surely the label",
        ),
        (
            {"path": ["a.png", "notes"], "label": [0, 1]},
            "the frame's column 'path' holds 'notes' in row 1, which is not an image",
        ),
        (
            {"path": ["a.png", "b.png"], "label": ["x", float("nan")]},
            "the frame's column 'label' has no label in row 1",
        ),
        (
            {"path": ["a.png"], "label": ["x"], "split": ["fold1"]},
            "the frame: column 'split' holds 'fold1'",
        ),
    ],
)
def test_frames_guess_nothing(columns, message):
    with pytest.raises(DataError) as caught:
        open_data(Frame(**columns))
    assert caught.value.message == message
    assert caught.value.hint


def test_frames_have_the_columns_of_tables(tmp_path):
    paths, labels = save(tmp_path, 12), ["cat", "dog"] * 6
    words = ["test"] * 2 + ["train"] * 8 + ["val"] * 2
    patients = [k // 2 for k in range(12)]
    data = open_data(Frame(image=paths, label=labels, Usage=words, patient_id=patients))
    assert data.given.tolist() == [0] * 8 + [1] * 2 + [2] * 2
    assert data.samples.groups.tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 0, 0]
    assert data.samples.ids.tolist() == paths[2:] + paths[:2]
    assert data.notes == ("the split is that of column 'Usage': 8 train, 2 val, 2 test",)
    alone = open_data(Frame(image=paths, label=labels, patient=patients))
    assert alone.samples.groups.tolist() == patients
    assert alone.notes[0].startswith("images of one 'patient' stay in one split, 6 in all")


def test_frames_note_columns_that_may_be_splits(tmp_path):
    data = open_data(Frame(image=save(tmp_path), label=["a", "b"] * 2, fold=[0, 1, 2, 3]))
    assert data.given is None
    assert data.notes == (
        "column 'fold' looks like a split column but is not used: write train, val and test into a "
        "column named split to use it",
    )


def test_frames_name_numbers_and_read_several_labels(tmp_path):
    paths = save(tmp_path)
    data = open_data(Frame(image=paths, label=[1, 0, 1, 0], label_name=["dog", "cat"] * 2))
    assert data.samples.class_names == ("cat", "dog")
    assert data.samples.labels.tolist() == [1, 0, 1, 0]
    data = open_data(Frame(image=paths, label=["a|b", "a", "b", ""]))
    assert data.samples.labels.tolist() == [[1, 1], [1, 0], [0, 1], [0, 0]]


def test_an_empty_frame_has_no_images():
    data = open_data(Frame(image=[], label=[]))
    assert len(data.samples) == 0
    assert data.notes == ()


class NAType:
    """Behaves like pandas' missing value."""


def test_missing_values_of_pandas_are_empty_cells(tmp_path):
    words = ["train", "train", "test", NAType()]
    with pytest.raises(DataError, match="column 'split' holds ''"):
        open_data(Frame(image=save(tmp_path), label=["a", "b"] * 2, split=words))


def test_given_class_names_come_before_a_column_of_names(tmp_path):
    frame = Frame(image=save(tmp_path), label=[1, 0, 1, 0], label_name=["dog", "cat"] * 2)
    assert open_data(frame, class_names=("x", "y")).samples.class_names == ("x", "y")
