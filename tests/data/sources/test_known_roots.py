"""Folders as torchvision lays them out: the root and the folder of a set are both known."""

import json

import numpy as np
import pytest
from cifar_files import write_python
from idx_files import put
from PIL import Image

from torchloupe.data.sources import open_data
from torchloupe.data.sources.known_roots import find_known_root
from torchloupe.errors import DataError


def write_food(root):
    """A small Food-101 as torchvision has it."""
    folder = root / "food-101"
    for part, count in (("train", 4), ("test", 2)):
        listed = {}
        for name in ("apple_pie", "baklava"):
            listed[name] = [f"{name}/{part}{k}" for k in range(count)]
            for image in listed[name]:
                path = folder / "images" / f"{image}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8)).save(path)
        (folder / "meta").mkdir(exist_ok=True)
        (folder / "meta" / f"{part}.json").write_text(json.dumps(listed))
    return folder


def write_mnist(root):
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        put(folder / f"{part}-images-idx3-ubyte", np.zeros((4, 6, 6), np.uint8))
        put(folder / f"{part}-labels-idx1-ubyte", np.array([0, 1, 0, 1], np.uint8))
    return folder.parent


def test_folder_of_a_set_and_its_root_are_opened_with_its_own_splits(tmp_path):
    folder = write_food(tmp_path)
    for path in (folder, tmp_path):
        data = open_data(path)
        assert data.name == "Food101"
        assert data.given.tolist() == [0] * 8 + [2] * 4
        assert data.samples.class_names == ("apple_pie", "baklava")


def test_roots_of_arrays_are_gone_down(tmp_path):
    folder = write_mnist(tmp_path)
    for path in (folder, tmp_path):
        assert open_data(path).given.tolist() == [0] * 4 + [2] * 4
    write_python(tmp_path / "cifar-10-batches-py")
    with pytest.raises(DataError) as caught:
        open_data(tmp_path)
    assert caught.value.message == (
        f"{tmp_path} holds several data sets: 'MNIST', 'cifar-10-batches-py'"
    )
    assert caught.value.hint == "give the folder of one of them"
    assert len(open_data(tmp_path / "cifar-10-batches-py").samples) == 12


def test_class_folders_with_such_names_stay_class_folders(tmp_path):
    for name in ("dtd/1.png", "other/1.png", "gtsrb/1.png"):
        path = tmp_path / name
        path.parent.mkdir()
        Image.new("L", (4, 4)).save(path)
    assert find_known_root(tmp_path) == ""
    assert find_known_root(tmp_path / "dtd") == ""
    assert open_data(tmp_path).samples.class_names == ("dtd", "gtsrb", "other")


def test_a_folder_that_only_looks_like_a_set_is_read_as_class_folders(tmp_path):
    folder = tmp_path / "food-101"
    for name in ("images/pie/1.png", "images/pie/2.png", "images/soup/1.png", "meta/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(folder / name) if name.endswith("png") else (
            folder / name
        ).write_text("how it was made")
    assert find_known_root(folder) == ""
    assert open_data(folder).samples.class_names == ("pie", "soup")
