"""Folders called like classes inside one of them: copies are left out, other images never."""

import zipfile

import pytest
from trees import duplicate, fail, ids, labels, plant

from torchloupe.data.sources import open_data
from torchloupe.errors import DataError

SET = ("cat/1.png", "cat/2.png", "dog/1.png")


def test_a_copy_of_some_of_the_images_is_not_used(tmp_path):
    plant(tmp_path, *SET)
    duplicate(tmp_path, "all/v1", "cat", "dog")
    (tmp_path / "all/v1/cat/2.png").unlink()
    data = open_data(tmp_path)
    assert ids(data) == list(SET)
    assert data.notes == ("'all' holds a copy of other folders here, not used",)


@pytest.mark.parametrize(
    "other",
    ["all/cat/3.png", "all/fox/1.png", "all/1.png", "all/dog/1.png", "all/more/train/cat/1.png"],
)
def test_a_folder_with_other_images_in_it_is_no_copy(tmp_path, other):
    plant(tmp_path, *SET)
    duplicate(tmp_path, "all", "cat", "dog")
    plant(tmp_path, *("x.txt" for _ in range(9)), other)
    error = fail(tmp_path)
    assert isinstance(error, DataError)
    assert error.message == (
        f"{tmp_path} has 'cat', 'dog', and folders of the same names in 'all' with other images, "
        f"such as '{other}'"
    )
    patterns = [text for text in error.hint.split("'") if "(" in text]
    first, last = (open_data(tmp_path, label_pattern=pattern) for pattern in patterns)
    assert set(labels(first)) == {"all", "cat", "dog"}
    assert {"cat", "dog"} <= set(labels(last))
    assert str(tmp_path / "all") in error.hint


def test_a_folder_of_the_same_class_names_and_more_is_no_copy(tmp_path):
    plant(tmp_path, *SET, *(f"web/{name}/9.png" for name in ("cat", "dog", "fox")))
    assert "in 'web' with other images" in fail(tmp_path).message
    plant(tmp_path, "bird/1.png")
    assert "has 'cat', 'dog', and folders of the same names" in fail(tmp_path).message


def test_a_split_inside_train_is_told_where_to_go(tmp_path):
    for place in ("train", "train/val", "test"):
        plant(tmp_path, *(f"{place}/{name}/{place[-2:]}.png" for name in ("cat", "dog")))
    error = fail(tmp_path)
    assert error.message.startswith(f"{tmp_path}/train has 'cat', 'dog', and folders of the same")
    assert error.hint == "if it is the val split, move 'train/val' to 'val'"


def test_images_of_other_sizes_in_an_archive_are_no_copy(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        for name in SET:
            file.writestr(name, b"x" * 9)
            file.writestr(f"all/{name}", b"y" * 8)
    error = fail(tmp_path / "set.zip")
    assert "in 'all' with other images" in error.message
    assert error.hint.startswith("unpack the archive first; give the inner folder")


def test_two_copies_of_a_set_with_splits_are_one(tmp_path):
    plant(tmp_path / "a", *(f"{s}/{c}/1.png" for s in ("train", "val") for c in ("cat", "dog")))
    duplicate(tmp_path, "b", "a")
    data = open_data(tmp_path)
    assert (labels(data), data.given.tolist()) == (["cat", "dog"] * 2, [0, 0, 1, 1])
    assert data.notes == ("the data are in a/; 'b' holds a copy of other folders here, not used",)
    plant(tmp_path, "b/a/train/cat/2.png")
    error = fail(tmp_path)
    assert error.message == (
        f"{tmp_path} has 'a', 'b' with splits and the same folders in each: 'cat', 'dog'"
    )
    assert error.hint == f"give one of them: {tmp_path}/a"
