"""What the cells of a table stand for, and columns that group images."""

import numpy as np
import pytest
from trees import fail, ids, labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.table_images import make_distinct


def test_names_listed_again_get_numbers():
    names = np.array(["a", "b", "a", "a"], dtype=np.dtypes.StringDType())
    found, notes = make_distinct(names)
    assert found.tolist() == ["a", "b", "a#2", "a#3"]
    assert notes == ("1 file is listed more than once: 'a'",)


@pytest.mark.parametrize("column", ["patient_id", "PatientID", "Patient ID", "lesion_id"])
def test_images_of_a_patient_are_a_group(tmp_path, column):
    plant(tmp_path, *(f"{k}.png" for k in range(8)))
    rows = [f"{k}.png,{k // 2},{'ab'[k % 2]},x" for k in range(8)]
    data = open_data(write(tmp_path, "t.csv", f"image,{column},label,site", *rows))
    assert data.samples.groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert data.notes == (
        f"images of one {column!r} stay in one split, 4 in all (data.group=none takes each image "
        "by itself)",
    )


def test_a_subject_may_be_the_label(tmp_path):
    plant(tmp_path, *(f"{k}.png" for k in range(8)))
    rows = [f"{k}.png,{k // 2}" for k in range(8)]
    data = open_data(write(tmp_path, "t.csv", "image,subject", *rows))
    assert data.samples.class_names == ("0", "1", "2", "3")
    assert data.samples.groups is None


def test_blank_rows_at_the_end_are_left_out(tmp_path):
    plant(tmp_path, "1.png", "2.png")
    path = write(tmp_path, "t.csv", "image,label", "1.png,a", "2.png,b", ",", " , ", "")
    data = open_data(path)
    assert labels(data) == ["a", "b"]
    assert data.notes[0] == f"2 rows of {path} without image and label: left out"
    assert (
        "1 empty cell in column 'label'"
        in fail(write(tmp_path, "u.csv", "image,label", "1.png,a", "2.png,")).message
    )


def test_a_column_names_the_classes_that_another_numbers(tmp_path):
    plant(tmp_path, *(f"{k}.png" for k in range(4)))
    rows = [f"{k}.png,{k % 2},{('cat', 'dog')[k % 2]},9" for k in range(4)]
    data = open_data(write(tmp_path, "t.csv", "image,label,label_name,age", *rows))
    assert data.samples.class_names == ("cat", "dog")
    assert data.notes == ("the classes of column 'label' are named by column 'label_name'",)
    rows[3] = "3.png,1,owl,9"  # two names for 1
    data = open_data(write(tmp_path, "u.csv", "image,label,label_name,age", *rows))
    assert data.samples.class_names == ("0", "1")


def test_names_with_percent_signs_are_found(tmp_path):
    plant(tmp_path, "my images/1.png", "my images/2%.png")
    path = write(tmp_path, "t.csv", "image,label", "my%20images/1.png,a", "my%20images/2%25.png,b")
    assert ids(open_data(path)) == ["my images/1.png", "my images/2%.png"]


@pytest.mark.parametrize("row", ["image,label", "Total,150", "---,---", "str,class"])
def test_rows_that_are_no_images_are_named(tmp_path, row):
    plant(tmp_path, "0.png", "1.png", "2.png", "3.png")
    path = write(tmp_path, "t.csv", "image,label", "0.png,a", "1.png,b", row, "2.png,a", "3.png,b")
    error = fail(path)
    name, _, label = row.partition(",")
    assert error.message == (
        f"{path}: no image of class '{label}' can be found, such as '{name}' in row 3 below the "
        "header"
    )
    assert error.hint.startswith("take out rows that are no images")
