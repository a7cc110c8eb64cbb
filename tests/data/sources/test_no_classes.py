"""What is said of a folder without class folders."""

import pytest
from trees import fail, plant, write

from torchloupe.data.sources.no_classes import hint_for_foreign


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("train-00000-of-00002.tfrecord", "read it by a Dataset of your own"),
        ("data.mdb", "read it by a Dataset of your own"),
        ("labels.xlsx", "save the sheet as .csv"),
        ("a.pkl", "load it in a file of your own"),
        ("data-00000-of-00001.arrow", "load it by datasets.load_from_disk"),
        ("shard.00000.mds", "read it by a streaming.StreamingDataset"),
    ],
)
def test_files_of_other_programs_are_known(tmp_path, name, start):
    plant(tmp_path, name)
    assert fail(tmp_path).hint == hint_for_foreign(name)
    assert fail(tmp_path / name).hint.startswith(start)


def test_a_table_of_labels_is_named_and_none_of_splits_or_boxes(tmp_path):
    plant(tmp_path, "img/img/1.jpg", "img/img/2.jpg")
    for name, column in (("attributes", "label"), ("eval_partition", "partition"), ("bbox", "x")):
        write(tmp_path, f"list_{name}.csv", f"image,{column}", "1.jpg,0", "2.jpg,1")
    error = fail(tmp_path)
    assert error.message == f"{tmp_path} has only one class folder, 'img'"
    assert error.hint == f"did you mean '{tmp_path}/list_attributes.csv'?"


def test_a_column_that_counts_the_splits_is_no_label(tmp_path):
    plant(tmp_path, *(f"{k}.jpg" for k in range(6)))
    rows = (f"{k}.jpg,{max(0, k - 3)}" for k in range(6))
    error = fail(write(tmp_path, "list.csv", "image_id,partition", *rows))
    assert error.message.endswith(
        "has no column of labels: its columns are 'image_id', 'partition'"
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cat/1.dcm", "PNG of 16 bits"),
        ("cat/1.mp4", "save frames"),
        ("cat/1.npy", "DatasetFolder"),
        ("labels.xlsx", "save the sheet as .csv"),
        ("subject.happy", "one folder of images per class"),
    ],
)
def test_every_kind_of_other_files_has_a_next_step(tmp_path, name, words):
    plant(tmp_path, name)
    assert words in fail(tmp_path).hint


def test_shards_that_were_unpacked_are_no_class_folders(tmp_path):
    for k in range(4):
        plant(tmp_path, f"{k // 2:03d}/{k}.jpg", f"{k // 2:03d}/{k}.cls")
    error = fail(tmp_path)
    assert error.message == (
        f"{tmp_path} is a set of shards that was unpacked: labels are in files beside the images "
        "(NAME.cls), not in the names of folders"
    )
    assert error.hint == f"give the shards, or pack them again (tar -cf set.tar -C {tmp_path} .)"


@pytest.mark.parametrize("column", ["patientId", "image"])
def test_a_table_without_any_image_beside_says_what_to_do(tmp_path, column):
    plant(tmp_path, *(f"scans/p{k}.dcm" for k in range(4)))
    path = write(tmp_path, "t.csv", f"{column},x,Target", *(f"p{k},1,{k % 2}" for k in range(4)))
    assert "PNG of 16 bits" in fail(path).hint


def test_a_table_in_the_only_folder_of_images_is_named(tmp_path):
    plant(tmp_path, "a/flowers/1.png", "a/flowers/2.png")
    path = write(tmp_path, "a/flowers/labels.csv", "file,label", "1.png,x", "2.png,y")
    assert fail(tmp_path).hint == f"did you mean '{path}'?"


def test_a_packed_table_beside_images_is_named(tmp_path):
    plant(tmp_path, "train/1.png", "test/2.png", "train.csv.zip", "test.csv.zip")
    assert fail(tmp_path).hint == f"did you mean '{tmp_path}/train.csv.zip'?"
