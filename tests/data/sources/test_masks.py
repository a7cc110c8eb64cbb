"""Masks beside pictures are no images of a class."""

import pytest
from trees import ids, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.masks import is_mask_folder


@pytest.mark.parametrize("name", ["masks", "Annotations", "ground_truth", "SegmentationClass"])
def test_names_of_folders_that_hold_masks(name):
    assert is_mask_folder(name)
    assert not is_mask_folder(f"{name} of a ball")


def test_a_folder_of_masks_beside_one_of_images_is_left_out(tmp_path):
    for name in ("covid", "normal"):
        plant(tmp_path, *(f"{name}/{inner}/{k}.png" for inner in ("images", "masks") for k in "12"))
    data = open_data(tmp_path)
    assert all("/images/" in name for name in ids(data))
    assert data.notes == ("4 masks in masks/, such as 'covid/masks/1.png': not used as images",)


def test_a_class_called_masks_stays(tmp_path):
    plant(tmp_path, "masks/1.png", "faces/1.png", "faces/masks/1.png")
    assert ids(open_data(tmp_path)) == ["faces/1.png", "faces/masks/1.png", "masks/1.png"]


def test_files_named_after_their_picture_are_left_out(tmp_path):
    plant(tmp_path, "benign/benign (1).png", "benign/benign (1)_mask.png")
    plant(tmp_path, "benign/benign (1)_mask_1.png", "normal/a.jpg", "normal/a_segmentation.png")
    plant(tmp_path, "normal/black_mask.png", "normal/b-gt.png")  # of no picture
    data = open_data(tmp_path)
    assert ids(data) == [
        "benign/benign (1).png",
        "normal/a.jpg",
        "normal/b-gt.png",
        "normal/black_mask.png",
    ]
    assert data.notes == (
        "3 masks named after their pictures, such as 'benign/benign (1)_mask.png': not used as "
        "images",
    )


def test_a_list_beside_masks_finds_the_pictures(tmp_path):
    plant(
        tmp_path,
        *(f"{folder}/{k}.png" for folder in ("images", "annotations/trimaps") for k in "ab"),
    )
    path = write(tmp_path, "annotations/list.txt", "a 1 1", "b 2 1")
    data = open_data(path)
    assert [data.reader.name(row) for row in range(2)] == ["../images/a.png", "../images/b.png"]
