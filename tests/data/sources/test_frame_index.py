"""The index of a frame of pandas that says the split, groups, images or labels."""

import numpy as np
import pytest
from PIL import Image

from torchloupe.data.sources import open_data
from torchloupe.data.sources.frame_index import read_index

pd = pytest.importorskip("pandas")

SPLIT = ["train"] * 8 + ["test"] * 4
PATIENTS = [f"p{k // 2}" for k in range(12)]


def frame(index=None):
    images = [np.full((4, 4), k, np.uint8) for k in range(12)]
    return pd.DataFrame({"image": images, "label": ["a", "b"] * 6}, index=index)


@pytest.mark.parametrize(
    "index",
    [
        pd.Index(SPLIT),
        pd.Index(SPLIT, name="usage"),
        pd.MultiIndex.from_arrays([SPLIT, range(12)]),
        pd.MultiIndex.from_arrays([range(12), SPLIT], names=["id", "split"]),
    ],
)
def test_an_index_of_splits_is_the_split(index):
    assert open_data(frame(index)).given.tolist() == [0] * 8 + [2] * 4


def test_levels_of_the_index_are_groups():
    index = pd.MultiIndex.from_arrays([PATIENTS, range(12)], names=["patient_id", "visit"])
    assert open_data(frame(index)).samples.groups.tolist() == [k // 2 for k in range(12)]


def test_an_index_of_images_is_the_column_of_images():
    table = frame().set_index("image")
    assert open_data(table).samples.labels.tolist() == [0, 1] * 6


@pytest.mark.parametrize("index", [None, [*range(5, 17)], [f"row {k}" for k in range(12)]])
def test_any_other_index_says_nothing(index):
    assert read_index(frame(index)) == {}


def test_a_frame_of_pixels_has_its_index():
    pixels = pd.DataFrame(np.zeros((12, 16), np.uint8), columns=[f"pixel{k}" for k in range(16)])
    table = pixels.assign(label=["a", "b"] * 6).set_index(pd.Index(SPLIT))
    assert open_data(table).given.tolist() == [0] * 8 + [2] * 4


@pytest.mark.parametrize("make", [str, np.asarray])
def test_rows_of_dicts_have_the_columns_of_frames(tmp_path, make):
    rows = []
    for k in range(12):
        path = tmp_path / f"{k}.png"
        Image.new("L", (4, 4), k).save(path)
        image = make(path if make is str else Image.open(path))
        rows.append({"image": image, "label": k % 2, "split": SPLIT[k], "patient_id": PATIENTS[k]})
    data = open_data(rows)
    assert data.given.tolist() == [0] * 8 + [2] * 4
    assert data.samples.groups.tolist() == [k // 2 for k in range(12)]
    assert data.samples.labels.tolist() == [0, 1] * 6
