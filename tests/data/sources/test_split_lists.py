"""Labels of a split from a list beside its images."""

import pytest
from trees import ids, labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.split import TEST, TRAIN, VAL


@pytest.fixture
def tree(tmp_path):
    """Class folders for training, and images of a val split in one folder."""
    plant(tmp_path, *(f"train/{name}/images/{k}.png" for name in ("n1", "n2") for k in range(2)))
    return plant(tmp_path, *(f"val/images/val_{k}.png" for k in range(3)))


def test_a_list_labels_the_images_of_a_split(tree):
    write(tree, "val/val_annotations.txt", *(f"val_{k}.png\tn{k % 2 + 1}\t0\t9" for k in range(3)))
    data = open_data(tree)
    assert ids(data)[-3:] == [f"val/images/val_{k}.png" for k in range(3)]
    assert labels(data)[-3:] == ["n1", "n2", "n1"]
    assert data.given.tolist() == [TRAIN] * 4 + [VAL] * 3
    assert "the labels of 3 images of val are those in val_annotations.txt" in data.notes


def test_a_table_labels_loose_images_of_a_split(tree):
    plant(tree, *(f"test/{k}.png" for k in range(2)))
    write(tree, "test/labels.csv", "image,label", "0.png,n2", "1.png,n1")
    data = open_data(tree)
    found = dict(zip(ids(data), labels(data), strict=True))
    assert (found["test/0.png"], found["test/1.png"]) == ("n2", "n1")


def test_a_table_beside_the_folder_of_a_split_labels_its_images(tree):
    plant(tree, *(f"Test/{k}.png" for k in range(2)))
    write(tree, "Test.csv", "Width,Height,ClassId,Path", "9,9,n2,Test/0.png", "9,8,n1,Test/1.png")
    data = open_data(tree)
    found = dict(zip(ids(data), labels(data), strict=True))
    assert (found["Test/0.png"], found["Test/1.png"]) == ("n2", "n1")
    assert data.given.tolist() == [TEST] * 2 + [TRAIN] * 4
    assert "the labels of 2 images of Test are those in Test.csv" in data.notes
    assert not any("not used" in note and "Test.csv" in note for note in data.notes)


@pytest.mark.parametrize("name", ["train.csv", "val.csv", "labels.csv"])
def test_a_table_of_other_images_beside_a_split_labels_nothing(tree, name):
    plant(tree, *(f"test/{k}.png" for k in range(2)))
    first = "test/0.png" if name != "labels.csv" else "val/images/val_0.png"
    write(tree, name, "image,label", f"{first},n2", "test/1.png,n1")
    assert len(open_data(tree).samples) == 4


@pytest.mark.parametrize(
    "lines",
    [
        ["val_0.png n1", "val_1.png n2"],  # not all
        ["val_0.png n1", "val_1.png n2", "val_2.png n3"],  # another class
        ["../../train/n1/images/0.png n1", "val_1.png n2", "val_2.png n1"],  # elsewhere
    ],
)
def test_a_list_that_does_not_fit_leaves_the_images_unlabelled(tree, lines):
    write(tree, "val/list.txt", *lines)
    data = open_data(tree)
    assert len(data.samples) == 4
    assert any("3 images in val/images/ have no labels" in note for note in data.notes)


def test_a_changed_list_is_read_again(tree, own_cache):
    lines = [f"val_{k}.png n{k % 2 + 1}" for k in range(3)]
    write(tree, "val/list.txt", *lines)
    open_data(tree)
    write(tree, "val/list.txt", *(line.replace("n1", "n2") for line in lines))
    assert labels(open_data(tree))[-3:] == ["n2"] * 3
