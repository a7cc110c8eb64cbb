"""Named sets: the embedded digits, and torchvision's from files already there, off line."""

import hashlib
import pickle
import socket
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import torchvision
from idx_files import put
from PIL import Image

from torchloupe.data.sources import open_data
from torchloupe.data.sources.named import open_torchvision
from torchloupe.errors import DataError, LoupeError, UsageError


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A test that opens a connection fails."""

    def refuse(*args, **options):
        raise AssertionError(f"the network was touched: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """Files in CIFAR-10's format; torchvision checks their hashes, so it is told the new ones."""
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    rng = np.random.default_rng(0)
    batches = [
        write(
            name, {"data": rng.integers(0, 256, (20, 3072), np.uint8), "labels": [*range(10)] * 2}
        )
        for name in ("data_batch_1", "data_batch_2", "test_batch")
    ]
    meta = write("batches.meta", {"label_names": names})
    cls = torchvision.datasets.CIFAR10
    monkeypatch.setattr(cls, "train_list", batches[:2])
    monkeypatch.setattr(cls, "test_list", batches[2:])
    monkeypatch.setattr(cls, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})
    return tmp_path


def fail(source, **options):
    with pytest.raises(LoupeError) as caught:
        open_data(source, **options)
    return caught.value


def test_digits_are_those_of_scikit_learn_stretched_to_255():
    data = open_data("digits")
    wanted = sklearn.datasets.load_digits()
    assert (data.name, data.kind, data.given) == ("digits", "arrays", None)
    assert data.reader.array.dtype == np.uint8
    assert (np.round(data.reader.array[..., 0] * (16 / 255)) == wanted.images).all()
    assert data.reader.array.max() == 255
    assert data.samples.labels.tolist() == wanted.target.tolist()
    assert data.samples.class_names == tuple("0123456789")
    assert open_data("digits").stamp == data.stamp


def test_digits_say_so_when_a_folder_has_their_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert open_data("digits").notes == (
        "digits is the set that comes with scikit-learn; write ./digits for the one in this folder",
    )
    assert isinstance(fail("./digits"), DataError)


@pytest.mark.parametrize("spelling", ["torchvision:CIFAR10", "torchvision:cifar10"])
def test_torchvision_opens_cifar_with_its_names_and_splits(cifar, monkeypatch, spelling):
    monkeypatch.chdir(cifar)
    data = open_data(spelling)
    assert (data.name, data.kind) == ("CIFAR10", "arrays")
    assert data.reader.array.shape == (60, 32, 32, 3)
    assert data.given.tolist() == [0] * 40 + [2] * 20
    assert data.samples.class_names[3] == "cat"
    assert data.samples.class_counts().tolist() == [6] * 10
    direct = torchvision.datasets.CIFAR10("data", train=False)
    assert (data.reader.array[40:] == direct.data).all()


def test_torchvision_looks_where_it_is_told(cifar):
    assert len(open_data(f"torchvision:{cifar}/data/CIFAR10").samples) == 60
    assert len(open_torchvision("CIFAR10", roots=[cifar, cifar / "data"]).samples) == 60


def test_torchvision_opens_the_mnist_family(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    pixels = np.arange(20 * 28 * 28, dtype=np.int64).reshape(20, 28, 28).astype(np.uint8)
    for part in ("train", "t10k"):
        put(raw / f"{part}-images-idx3-ubyte", pixels)
        put(raw / f"{part}-labels-idx1-ubyte", np.arange(20, dtype=np.uint8) % 10)
    data = open_data(f"torchvision:{tmp_path}/FashionMNIST")
    assert data.reader.array.shape == (40, 28, 28, 1)
    assert data.samples.class_names[9] == "Ankle boot"
    (raw / "t10k-images-idx3-ubyte").write_bytes(b"cut")
    assert "missing or damaged" in fail(f"torchvision:{tmp_path}/FashionMNIST").message


def test_torchvision_opens_a_set_of_files_one_by_one(tmp_path):
    for part in ("train", "val"):
        for name in ("n01440764", "n02102040", "n02979186"):
            for k in range(2):
                path = tmp_path / "imagenette2-160" / part / name / f"{k}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (9, 7), (k, 0, 0)).save(path)
    spec = f"torchvision:{tmp_path}/Imagenette"
    folder = tmp_path / "imagenette2"
    (tmp_path / "imagenette2-160").rename(folder)
    data = open_data(spec)
    assert data.kind == "table"  # fixed images: they may be packed
    assert data.given.tolist() == [0] * 6 + [1] * 6
    assert data.reader.read(0).shape == (7, 9, 3)
    assert len(data.samples.class_names) == 3
    assert open_data(spec).stamp == data.stamp


def test_torchvision_says_what_to_do_when_files_are_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    error = fail("torchvision:CIFAR10")
    assert isinstance(error, DataError)
    assert error.message.startswith("the files of torchvision's CIFAR10 are missing or damaged ")
    assert "looked in: data, ./, " in error.message
    assert error.hint == (
        "--download fetches them, or say where they are: torchvision:FOLDER/CIFAR10"
    )
    assert list(tmp_path.iterdir()) == []


def test_torchvision_does_not_unpickle_files_with_other_hashes(cifar):
    class Evil:
        def __reduce__(self):
            return (Path.mkdir, (cifar / "sprung",))

    (cifar / "data/cifar-10-batches-py/data_batch_1").write_bytes(pickle.dumps(Evil()))
    assert "missing or damaged" in fail(f"torchvision:{cifar}/data/CIFAR10").message
    assert not (cifar / "sprung").exists()


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("CIFAR1O", "torchvision has no set 'CIFAR1O' with splits of its own",
         "did you mean 'CIFAR10', 'CIFAR100'?"),
        ("FakeData", "torchvision has no set 'FakeData' with splits of its own",
         "for example torchvision:CIFAR10, torchvision:FashionMNIST, torchvision:SVHN"),
        ("", "torchvision has no set '' with splits of its own",
         "for example torchvision:CIFAR10, torchvision:FashionMNIST, torchvision:SVHN"),
        ("EMNIST", "torchvision's EMNIST comes in six divisions",
         "make it in a file of your own and give file.py:name"),
        ("Kinetics", "torchvision's Kinetics needs frames_per_clip",
         "make it in a file of your own and give file.py:name"),
    ],
)  # fmt: skip
def test_torchvision_refuses_names(name, message, hint):
    error = fail(f"torchvision:{name}")
    assert isinstance(error, UsageError)
    assert (error.message, error.hint) == (message, hint)


def test_torchvision_reports_a_download_that_fails(tmp_path, capsys):
    # The network is refused here: what is tested is the error and that stdout stays clean.
    with pytest.raises(DataError, match="torchvision can't fetch CIFAR10: ") as caught:
        open_torchvision("CIFAR10", download=True, roots=[tmp_path])
    assert capsys.readouterr().out == ""
    assert caught.value.hint.startswith("fetch it elsewhere and say where it is: ")
