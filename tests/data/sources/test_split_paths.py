"""Tests of splits that the paths of images name."""

import numpy as np
import pytest
from trees import ids, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.split_paths import read_split_paths


def table(folder, *names):
    plant(folder, *names)
    rows = [f"{name},{'ab'[k % 2]}" for k, name in enumerate(names)]
    return write(folder, "t.csv", "image,label", *rows)


@pytest.mark.parametrize(
    ("names", "given", "words"),
    [
        ("train/1.png train/2.png test/1.png test/2.png", [0, 0, 2, 2], "'test', 'train'"),
        ("d/Training/1.png d/Training/a/2.png d/Val/a/1.png", [0, 0, 1], "'Training', 'Val'"),
        ("i/train_01.png i/train_02.png i/test_1.png", [0, 0, 2], "'test', 'train'"),
        ("train1.png train2.png valid3.png test4.png", [0, 0, 1, 2], "'test', 'train', 'valid'"),
    ],
)
def test_paths_of_a_table_give_the_split(tmp_path, names, given, words):
    path = table(tmp_path, *names.split())
    data = open_data(path)
    assert data.given.tolist() == given
    assert data.notes[0].startswith(f"the split is that of the paths, which name {words}: ")
    assert open_data(path, split_column="none").given is None


@pytest.mark.parametrize(
    "names",
    [
        "train/1.png test/2.png 3.png",
        "train/1.png train/2.png",
        "test/1.png val/2.png",
        "trains/1.png tests/2.png",
        "train/1.png testa/2.png",
        "a/train_1.png b/2.png",
    ],
)
def test_paths_that_do_not_all_name_a_split_give_none(tmp_path, names):
    assert read_split_paths(np.array(names.split(), dtype=np.dtypes.StringDType())) is None
    assert open_data(table(tmp_path, *names.split())).notes == ()


def test_a_column_comes_before_the_paths(tmp_path):
    plant(tmp_path, "train/1.png", "test/2.png", "test/3.png")
    rows = ["train/1.png,a,train", "test/2.png,b,train", "test/3.png,b,test"]
    data = open_data(write(tmp_path, "t.csv", "image,label,split", *rows))
    assert data.given.tolist() == [0, 0, 2]


def test_names_in_class_folders_are_noted(tmp_path):
    plant(tmp_path, *(f"{c}/{s}_{k}.png" for c in "ab" for s in ("train", "test") for k in (1, 2)))
    data = open_data(tmp_path)
    assert data.given is None
    assert len(ids(data)) == 8
    assert data.notes == (
        "the names of the images begin with 'test', 'train', which is not used as the split: put "
        "them into class folders below train/ and test/ to use it",
    )


def test_tables_of_splits_are_not_divided_by_paths(tmp_path):
    train, val = [f"train/{k}.png" for k in range(4)], [f"test/{k}.png" for k in range(4)]
    plant(tmp_path, *train, *val, "v/1.png", "v/2.png")
    rows = [f"{name},{'ab'[k % 2]}" for k, name in enumerate((*train, *val))]
    first = write(tmp_path, "train.csv", "image,label", *rows)
    second = write(tmp_path, "val.csv", "image,label", "v/1.png,a", "v/2.png,b")
    for source in ((str(first), str(second)), tmp_path):
        data = open_data(source)
        assert np.bincount(data.given).tolist() == [8, 2]


def test_paths_whose_classes_differ_are_not_the_split(tmp_path):
    names = ["train/1.png", "train/2.png", "test/1.png", "test/2.png"]
    plant(tmp_path, *names)
    rows = [f"{name},{label}" for name, label in zip(names, "aabb", strict=True)]
    data = open_data(write(tmp_path, "t.csv", "image,label", *rows))
    assert data.given is None
    assert data.notes[0].startswith(
        "the paths name 'test', 'train', which is not used as the split"
    )
