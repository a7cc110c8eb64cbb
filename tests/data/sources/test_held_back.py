"""Folders of loose images beside class folders whose names say that they are no class."""

import pytest
from trees import fail, ids, labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.errors import DataError

SET = ("cat/1.png", "cat/2.png", "dog/1.png")


@pytest.mark.parametrize(
    "name",
    ["test", "test1", "test/test", "Test_images", "testing", "val", "predict",
     "unsupervised_images", "submission", "my_testset", "testA", "private_test", "test_stg1"],
)  # fmt: skip
@pytest.mark.parametrize("split", ["", "train/"])
def test_a_folder_called_like_a_split_is_no_class_silently(tmp_path, name, split):
    plant(tmp_path, *(f"{split}{image}" for image in (*SET, f"{name}/8.png", f"{name}/9.png")))
    plant(tmp_path, *(f"val/{image}" for image in SET if split))
    error = fail(tmp_path)
    assert isinstance(error, DataError)
    top = name.partition("/")[0]
    assert error.message == (
        f"{str(tmp_path / split).rstrip('/')} has '{top}' with images and no class folders beside "
        "'cat', 'dog': its name says no class"
    )
    if not split:
        data = open_data(tmp_path, label_pattern=error.hint.split("'")[1])
        assert set(labels(data)) == {"cat", "dog", top}


@pytest.mark.parametrize("name", ["alien_test", "test"])
def test_a_folder_whose_images_a_table_of_test_lists_is_not_used(tmp_path, name):
    plant(tmp_path, *SET, f"{name}/8.png", f"{name}/9.png")
    write(tmp_path, "test.csv", "id,labels", "8.png,0", "9.png,1")
    data = open_data(tmp_path)
    assert ids(data) == list(SET)
    assert data.notes == (f"'{name}' is no class, its images are listed in test.csv: not used",)


def test_a_name_that_says_nothing_is_noted(tmp_path):
    plant(tmp_path, *SET, "images/1.png")
    assert open_data(tmp_path).notes == ("'images' is a class; if it is none, move it elsewhere",)


def test_unlabelled_images_are_not_used(tmp_path):
    plant(tmp_path, *SET, "unlabelled_images/1.png")
    data = open_data(tmp_path)
    assert ids(data) == list(SET)
    assert data.notes == ("'unlabelled_images' says that it has no labels: not used",)


def test_a_name_that_may_be_of_a_class_is_noted(tmp_path):
    plant(tmp_path, *SET, "covid_test/1.png", "test tube/1.png")
    data = open_data(tmp_path)
    assert set(labels(data)) == {"cat", "dog", "covid_test", "test tube"}
    assert data.notes == (
        "'covid_test' is a class; if it holds the images of test, move it elsewhere",
    )
