"""Columns of Hugging Face datasets beside images and labels."""

import pytest
from PIL import Image
from torch.utils.data import ConcatDataset, Subset

from torchloupe.data.sources import open_data
from torchloupe.data.sources.hub_columns import read_hub_columns
from torchloupe.errors import DataError

hub = pytest.importorskip("datasets")

SPLIT = ["train"] * 6 + ["test", "validation"] * 3
PATIENTS = [f"p{k // 2}" for k in range(12)]


def make(count=12, **columns):
    images = [Image.new("L", (4, 4), k) for k in range(count)]
    return hub.Dataset.from_dict({"image": images, "label": [0, 1] * (count // 2), **columns})


def test_columns_give_splits_groups_and_names():
    data = open_data(make(split=SPLIT, patient_id=PATIENTS, label_name=["neg", "pos"] * 6))
    assert data.given.tolist() == [0] * 6 + [2, 1] * 3
    assert data.samples.groups.tolist() == [k // 2 for k in range(12)]
    assert data.samples.class_names == ("neg", "pos")
    assert data.samples.labels.tolist() == [0, 1] * 6


@pytest.mark.parametrize(
    "wrap",
    [
        lambda own: Subset(own, [*range(12)]),
        lambda own: ConcatDataset([Subset(own, range(6)), Subset(own, range(6, 12))]),
        lambda own: own.with_format("torch"),
        lambda own: own.cast_column("split", hub.ClassLabel(names=["test", "train", "validation"])),
    ],
)
def test_columns_are_those_of_the_dataset_inside(wrap):
    data = open_data(wrap(make(split=SPLIT, patient_id=PATIENTS)))
    assert data.given.tolist() == [0] * 6 + [2, 1] * 3
    assert data.samples.groups.tolist() == [k // 2 for k in range(12)]


def test_a_column_of_splits_that_names_none_is_refused():
    with pytest.raises(DataError, match="column 'split' holds 'x'"):
        open_data(make(split=["x"] * 12))


def test_groups_of_datasets_for_each_split():
    data = open_data(
        hub.DatasetDict(train=make(patient_id=PATIENTS), test=make(4, patient_id=PATIENTS[:4]))
    )
    assert data.samples.groups.tolist() == [*(k // 2 for k in range(12)), 0, 0, 1, 1]


@pytest.mark.parametrize("value", [-1, None])
def test_a_test_set_without_labels_is_left_out(value):
    unlabelled = make(4).remove_columns("label").add_column("label", [value] * 4)
    data = open_data({"train": make(), "test": unlabelled})
    assert (len(data.samples), data.given) == (12, None)
    assert f"test is not used: it has no labels (all are {value})" in data.notes


def test_columns_of_large_datasets_are_known_by_their_first_rows():
    columns = {"image": [b"x"] * 1200, "label": [0, 1] * 600, "caption": ["a"] * 1200}
    own = hub.Dataset.from_dict({**columns, "usage": ["train"] * 1100 + ["test"] * 100})
    beside = read_hub_columns({0: own}, ())
    assert beside.given.tolist() == [0] * 1100 + [2] * 100
