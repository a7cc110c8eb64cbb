"""HDF5 files: arrays in one file, or images and labels in a file each."""

import numpy as np
import pytest

from torchloupe.data.sources import open_data
from torchloupe.errors import DataError, LoupeError

h5py = pytest.importorskip("h5py", reason="needs the extra h5")
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 4), dtype=np.uint8)
COLOUR = np.zeros((6, 5, 5, 3), dtype=np.uint8)
LABELS = np.arange(6) % 3


def fail(source):
    with pytest.raises(LoupeError) as caught:
        open_data(source)
    return caught.value


def test_hdf5_files_are_read(tmp_path):
    path = tmp_path / "set.h5"
    images = IMAGES
    with h5py.File(path, "w") as file:
        file["train/images"] = images
        file["train/labels"] = LABELS
        file.create_dataset("test/images", data=images, compression="gzip")
        file["test/labels"] = LABELS
        file["class_names"] = ["a", "b", "c"]
    data = open_data(path)
    assert data.given.tolist() == [0] * 6 + [2] * 6
    assert data.samples.class_names == ("a", "b", "c")
    assert (data.reader.array[:6, ..., 0] == images).all()
    with h5py.File(path, "w") as file:
        file["train_set_x"], file["train_set_y"] = images, LABELS
        file["list_classes"] = np.array([b"a", b"b", b"c"])
    data = open_data(path)
    assert isinstance(data.reader.array.base, np.memmap | np.ndarray)
    assert data.samples.class_names == ("a", "b", "c")
    with h5py.File(path, "w") as file:
        file.create_dataset("images", (6, 4, 4), "u1", external=[("/etc/passwd", 0, 96)])
        file["labels"] = LABELS
    assert "its values lie in another file" in fail(path).message
    path.write_bytes(b"x")
    assert fail(path).message.startswith(f"{path} can't be read as HDF5: ")


@pytest.fixture
def pairs(tmp_path):
    """Images and labels in a file each, as PatchCamelyon has them; labels are [N, 1, 1, 1]."""
    for split, count in (("train", 6), ("valid", 3), ("test", 3)):
        with h5py.File(tmp_path / f"patches_split_{split}_x.h5", "w") as file:
            file.create_dataset("x", data=COLOUR[:count], compression=1)
        with h5py.File(tmp_path / f"patches_split_{split}_y.h5", "w") as file:
            file["y"] = LABELS[:count].reshape(-1, 1, 1, 1)
    return tmp_path


def test_hdf5_pairs_of_a_folder_are_its_splits(pairs):
    data = open_data(pairs)
    assert data.given.tolist() == [0] * 6 + [1] * 3 + [2] * 3
    assert data.samples.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]
    assert data.reader.array.shape == (12, 5, 5, 3)


def test_hdf5_file_of_images_goes_with_the_labels_beside_it(pairs):
    data = open_data(pairs / "patches_split_train_x.h5")
    assert data.given is None
    assert data.samples.labels.tolist() == [0, 1, 2, 0, 1, 2]
    (pairs / "patches_split_train_y.h5").unlink()
    error = fail(pairs / "patches_split_train_x.h5")
    assert isinstance(error, DataError)
    assert error.message.endswith("no partner for 'x'")


def test_hdf5_files_are_told_apart_by_their_names_alone(tmp_path):
    for name, values in (("images", IMAGES), ("labels", LABELS)):
        with h5py.File(tmp_path / f"train_{name}.hdf5", "w") as file:
            file["array"] = values
    assert open_data(tmp_path).samples.labels.tolist() == LABELS.tolist()
