"""Tar files of images without labels, one of each class: the error has the commands to unpack."""

import subprocess
import tarfile

import pytest
from trees import fail, plant

from torchloupe.data.sources import open_data


def make_tars(folder, *names):
    for name in names:
        plant(folder / "images", f"{name}_1.jpg", f"{name}_2.jpg")
        with tarfile.open(folder / f"{name}.tar", "w") as file:
            for image in sorted((folder / "images").glob(f"{name}_*")):
                file.add(image, image.name)
    for image in (folder / "images").iterdir():
        image.unlink()
    (folder / "images").rmdir()


def run(hint):
    commands = hint.partition(": ")[2].rpartition("; then give")[0]
    subprocess.run(["bash", "-c", commands], check=True)


@pytest.mark.parametrize("names", [("n01440764", "n01443537"), ("cat", "dog")])
def test_a_folder_of_tars_of_classes_can_be_unpacked(tmp_path, names):
    make_tars(tmp_path, *names)
    error = fail(tmp_path)
    assert f"2 .tar files in {tmp_path} hold images and no labels" in error.message
    run(error.hint)
    assert open_data(tmp_path).samples.class_names == names


def test_a_tar_of_tars_can_be_unpacked(tmp_path):
    make_tars(tmp_path / "x", "n01440764", "n01443537")
    with tarfile.open(tmp_path / "train.tar", "w") as file:
        for path in sorted((tmp_path / "x").iterdir()):
            file.add(path, path.name)
    error = fail(tmp_path / "train.tar")
    assert error.message.startswith(f"{tmp_path}/train.tar holds 2 .tar files")
    run(error.hint)
    data = open_data(error.hint.rpartition("; then give ")[2])
    assert data.samples.class_names == ("n01440764", "n01443537")


def test_numbered_shards_without_labels_are_no_classes(tmp_path):
    make_tars(tmp_path, "shard-000", "shard-001")
    assert "without one pair of image and label" in fail(tmp_path).message
