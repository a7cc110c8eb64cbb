"""IDX files as MNIST and its kin ship them, plain and gzipped, whole and damaged."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from idx_files import TYPES, put

from torchloupe.data.sources import open_data
from torchloupe.data.sources.idx import KNOWN_CLASSES, read_idx
from torchloupe.errors import DataError, LoupeError


def put_set(folder, ending="", classes=10):
    labels = np.arange(20, dtype=np.uint8) % classes
    pixels = np.arange(20 * 6 * 5, dtype=np.int64).reshape(20, 6, 5).astype(np.uint8)
    put(folder / f"train-images-idx3-ubyte{ending}", pixels)
    put(folder / f"train-labels-idx1-ubyte{ending}", labels)
    put(folder / f"t10k-images-idx3-ubyte{ending}", pixels[:10])
    put(folder / f"t10k-labels-idx1-ubyte{ending}", labels[:10])
    return pixels, labels


def fail(source, **options):
    with pytest.raises(LoupeError) as caught:
        open_data(source, **options)
    assert isinstance(caught.value, DataError)
    return caught.value


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_gives_train_and_test(tmp_path, ending):
    pixels, labels = put_set(tmp_path / "mine", ending)
    data = open_data(tmp_path / "mine")
    assert (data.name, data.kind) == ("mine", "arrays")
    assert data.given.tolist() == [0] * 20 + [2] * 10
    assert (data.reader.array[:20, ..., 0] == pixels).all()
    assert data.reader.array.dtype == np.uint8
    assert data.samples.labels[:20].tolist() == labels.tolist()
    assert data.samples.class_names == tuple("0123456789")
    assert data.samples.ids[[0, 20]].tolist() == ["train/0", "test/0"]


@pytest.mark.parametrize(
    ("folder", "known"),
    [
        ("fashion-mnist", "fashionmnist"),
        ("FashionMNIST/raw", "fashionmnist"),
        ("my fashion_mnist", "fashionmnist"),
        ("KMNIST/raw", "kmnist"),
        ("mnist", ""),
        ("fashion", ""),
    ],
)
def test_idx_names_the_classes_of_sets_it_knows(tmp_path, folder, known):
    put_set(tmp_path / folder)
    names = open_data(tmp_path / folder).samples.class_names
    assert names == KNOWN_CLASSES.get(known, tuple("0123456789"))


def test_idx_names_no_classes_when_labels_are_others(tmp_path):
    put_set(tmp_path / "fashion-mnist", classes=9)
    assert open_data(tmp_path / "fashion-mnist").samples.class_names == tuple("012345678")
    names = tuple("abcdefghi")
    data = open_data(tmp_path / "fashion-mnist", class_names=names)
    assert data.samples.class_names == names


def test_idx_one_file_means_its_split_alone(tmp_path):
    put_set(tmp_path)
    data = open_data(tmp_path / "t10k-images-idx3-ubyte")
    assert len(data.samples) == 10
    assert data.given is None
    assert len(open_data(tmp_path / "train-labels-idx1-ubyte").samples) == 20


def test_idx_takes_the_plain_file_when_both_are_there(tmp_path):
    put_set(tmp_path)
    for file in tmp_path.glob("*ubyte"):
        Path(f"{file}.gz").write_bytes(b"not read")
    assert len(open_data(tmp_path).samples) == 30


@pytest.mark.parametrize("kind", TYPES)
def test_read_idx_reads_every_type(tmp_path, kind):
    array = np.array([[1, 2, 3], [100, 0, 7]], dtype=kind)
    put(tmp_path / "a", array)
    assert (read_idx(tmp_path / "a") == array).all()
    assert read_idx(tmp_path / "a").dtype == array.dtype


def test_idx_names_what_is_missing(tmp_path):
    put_set(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    assert fail(tmp_path).message == (
        f"{tmp_path} has 't10k-images-idx3-ubyte' and not the labels that go with it"
    )


def test_idx_names_several_sets_in_one_folder(tmp_path):
    for name in ("emnist-letters", "emnist-digits"):
        put(tmp_path / f"{name}-train-images-idx3-ubyte", np.zeros((2, 3, 3), np.uint8))
        put(tmp_path / f"{name}-train-labels-idx1-ubyte", np.arange(2, dtype=np.uint8))
    assert "'emnist-digits', 'emnist-letters'" in fail(tmp_path).message
    assert len(open_data(tmp_path / "emnist-letters-train-images-idx3-ubyte").samples) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: b"", "is not an IDX file"),
        (lambda content: b"<html>" + content, "is not an IDX file"),
        (lambda content: content[:7], "is cut short: its header says "),
        (lambda content: content[:-1], "holds less than its header says (20 x 6 x 5 values)"),
        (lambda content: content + b"x", "holds more than its header says (20 x 6 x 5 values)"),
        (lambda content: content[:4] + b"\xff" * 12 + content[16:],
         "is cut short: its header says 4294967295 x 4294967295 x 4294967295 values"),
        (lambda content: gzip.compress(content)[:-20], "can't be read: "),
        (lambda content: gzip.compress(content[:-5]),
         "holds less than its header says (20 x 6 x 5 values)"),
        (lambda content: gzip.compress(content)[:30] + b"damage" * 9, "can't be read: "),
        (lambda content: gzip.compress(content[:4] + b"\xff" * 12),
         "is cut short: its header says 4294967295 x 4294967295 x 4294967295 values"),
    ],
)  # fmt: skip
def test_idx_refuses_damaged_files(tmp_path, change, message):
    put_set(tmp_path)
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(change(file.read_bytes()))
    error = fail(tmp_path)
    assert error.message.startswith(f"{file} ")
    assert message in error.message


def test_idx_reads_fashion_mnist_of_debian():
    path = Path("/usr/share/datasets/fashion-mnist")
    if not path.is_dir():
        pytest.skip("dataset-fashion-mnist is not installed")
    data = open_data(path)
    assert data.reader.array.shape == (70_000, 28, 28, 1)
    assert data.samples.class_names[9] == "Ankle boot"
    assert (data.samples.class_counts() == 7000).all()
    assert data.given.sum() == 20_000
    assert int(data.reader.array[0].sum()) == 76_247
