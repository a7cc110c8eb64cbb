"""CIFAR-10, CIFAR-100 and STL-10 in the files of their authors."""

import pickle

import numpy as np
import pytest
from cifar_files import NAMES, dump, write_binary, write_python

from torchloupe.data.sources import open_data
from torchloupe.errors import DataError


@pytest.mark.parametrize("write", [write_python, write_binary])
@pytest.mark.parametrize("fine", [False, True])
def test_cifar_is_read_in_both_versions(tmp_path, write, fine):
    data = open_data(write(tmp_path / "cifar", fine))
    train = 4 if fine else 8
    assert (data.name, data.kind) == ("cifar", "arrays")
    assert data.given.tolist() == [0] * train + [2] * 4
    assert data.samples.class_names == tuple(NAMES)
    assert data.samples.labels.tolist() == [0, 1, 2, 1] * (train // 4 + 1)
    assert data.reader.array.shape == (train + 4, 32, 32, 3)
    assert data.reader.read(3)[0, 0].tolist() == [3, 0, 0]
    assert data.reader.read(0)[3, 5].tolist() == [0, 200, 0]
    note = "the fine labels of CIFAR-100 are used, not its coarse ones"
    assert (note in data.notes) is fine


def test_stl_is_read_with_its_columns_first_and_labels_from_one(tmp_path):
    image = np.zeros((3, 96, 96), np.uint8)
    image[1, 7, 20] = 99  # row 7, column 20
    for part, labels in (("train", [1, 2, 10]), ("test", [10, 1])):
        stored = np.stack([image.transpose(0, 2, 1)] * len(labels))
        (tmp_path / f"{part}_X.bin").write_bytes(stored.tobytes())
        (tmp_path / f"{part}_y.bin").write_bytes(bytes(labels))
    (tmp_path / "class_names.txt").write_text("\n".join(f"class {k}" for k in range(10)))
    (tmp_path / "unlabeled_X.bin").write_bytes(b"")
    data = open_data(tmp_path)
    assert data.given.tolist() == [0, 0, 0, 2, 2]
    assert data.samples.labels.tolist() == [0, 1, 9, 9, 0]
    assert data.samples.class_names[9] == "class 9"
    assert data.reader.read(0)[7, 20].tolist() == [0, 99, 0]
    assert "the unlabelled images of STL-10 are not used" in data.notes


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("data_batch_1", b"cut", "it is damaged: "),
        ("data_batch_1", pickle.dumps([1]), "it holds no dict"),
        ("data_batch_1", pickle.dumps({"labels": [1]}), "it lacks data [N, 3072] or labels"),
        ("data_batch_1", pickle.dumps(print), "it names builtins.print, which could run code"),
        ("data_batch_1.bin", b"x" * 100, "100 bytes are not whole records of 3,073"),
        ("data_batch_1.bin", b"", "0 bytes are not whole records of 3,073"),
    ],
)
def test_cifar_names_a_file_that_is_not_what_its_name_says(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_data(tmp_path)
    assert caught.value.message.startswith(
        f"{tmp_path / name} can't be read as a file of CIFAR or STL-10: {reason}"
    )
    assert caught.value.hint == "fetch the set again"


@pytest.mark.parametrize("side", [8, 16, 32, 64])
def test_downsampled_imagenet_is_read(tmp_path, side):
    for name in ("train_data_batch_1", "train_data_batch_2", "val_data"):
        rows = np.arange(3 * 3 * side * side).reshape(3, -1) % 251
        dump(tmp_path / name, {"data": rows.astype(np.uint8), "labels": [1, 2, 3]})
    data = open_data(tmp_path)
    assert data.given.tolist() == [0] * 6 + [1] * 3
    assert data.samples.class_names == ("1", "2", "3")
    assert data.reader.read(0).shape == (side, side, 3)
    assert data.reader.read(0)[0, 1].tolist() == [(1 + k * side * side) % 251 for k in range(3)]
