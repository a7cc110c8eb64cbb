"""What the cells of a table stand for, and columns that group images."""

import numpy as np
import pytest
from trees import plant, write

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
