"""Lists of images with labels beside them: arrays, PIL images, bytes and paths."""

import io
import os

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from torchloupe.data.sources import open_data
from torchloupe.errors import DataError, LoupeError, UsageError


def picture(value, size=(5, 4)):
    return Image.new("RGB", size, (value, value, value))


def fail(source, **options):
    with pytest.raises(LoupeError) as caught:
        open_data(source, **options)
    return caught.value


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor])
def test_lists_of_arrays_of_one_shape_are_arrays(make):
    images = [make(np.full((4, 4), k, np.uint8)) for k in range(6)]
    data = open_data((images, [0, 1, 2, 0, 1, 2]))
    assert (data.name, data.kind) == ("images", "arrays")
    assert data.reader.array.shape == (6, 4, 4, 1)
    assert data.samples.labels.tolist() == [0, 1, 2, 0, 1, 2]
    halves = ((images[:4], [0, 1, 2, 0]), (images[4:], np.array([1, 2])))
    assert open_data(halves).given.tolist() == [0, 0, 0, 0, 1, 1]


def test_lists_of_images_of_many_sizes_are_read_one_by_one():
    buffer = io.BytesIO()
    picture(7).save(buffer, "PNG")
    images = [
        np.full((4, 6), 1, np.uint8),
        torch.full((3, 5, 7), 2, dtype=torch.uint8),
        picture(3),
        buffer.getvalue(),
        {"bytes": buffer.getvalue(), "path": "a.png"},
    ]
    data = open_data((images, ["cat", "dog", "dog", "cat", "cat"]))
    assert data.kind == "table"
    assert data.samples.class_names == ("cat", "dog")
    assert data.samples.labels.tolist() == [0, 1, 1, 0, 0]
    assert [np.shape(data.reader.read(row)) for row in range(3)] == [
        (4, 6, 1),
        (5, 7, 3),
        (4, 5, 3),
    ]
    assert data.reader.read(3) == data.reader.read(4) == buffer.getvalue()


@pytest.mark.parametrize("kind", ["pair", "pairs", "tuple of pairs", "dict"])
def test_lists_of_paths_are_files(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [f"{k}.png" for k in range(4)]
    for k, path in enumerate(paths):
        picture(k).save(path)
    labels = ["a", "b", "a", "b"]
    pairs = list(zip(paths, labels, strict=True))
    forms = {
        "pair": (paths, labels),
        "pairs": pairs,
        "tuple of pairs": tuple(pairs),
        "dict": {"images": [tmp_path / path for path in paths], "labels": labels},
    }
    data = open_data(forms[kind])
    assert data.kind == "table"
    assert data.samples.labels.tolist() == [0, 1, 0, 1]
    if kind != "dict":
        assert data.samples.ids.tolist() == paths
    assert data.reader.read(2) == (tmp_path / "2.png").read_bytes()
    first = data.stamp
    picture(200).save(paths[3])
    os.utime(paths[3], ns=(1, 1))
    assert open_data(forms[kind]).stamp != first


def test_lists_of_paths_name_files_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        picture(1).save(name)
    data = open_data((["a.png", "b.png", "c.png", "a.png"], [0, 1, 0, 1]))
    assert data.notes == ("1 file of 4 can't be found: 'c.png'",)
    assert data.samples.ids.tolist() == ["a.png", "b.png", "c.png", "a.png#2"]
    error = fail((["x.png", "y.png", "a.png"], [0, 1, 0]))
    assert isinstance(error, DataError)
    assert error.message == "2 files of 3 can't be found: 'x.png', 'y.png'"
    assert error.hint == "paths are relative to the current folder"


def test_lists_refuse_a_layout_where_shapes_differ():
    error = fail(([np.zeros((4, 4)), np.zeros((5, 5))], [0, 1]), layout="NCHW")
    assert error.message == "data.layout=NCHW is for arrays of one shape, and the list has others"


X, Y = np.zeros((6, 4, 4), np.uint8), np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    ("arrays", "given"),
    [
        ((X, Y, X[:3], Y[:3]), [0] * 6 + [1] * 3),
        ((X, X[:3], Y, Y[:3]), [0] * 6 + [1] * 3),
        ([X, X[:3], Y, Y[:3]], [0] * 6 + [1] * 3),
        ((list(X), Y, list(X[:3]), list(Y[:3])), [0] * 6 + [1] * 3),
        ((X, Y, X[:3], Y[:3], X[3:5], Y[3:5]), [0] * 6 + [1] * 3 + [2] * 2),
        ((X, X[:3], X[3:5], Y, Y[:3], Y[3:5]), [0] * 6 + [1] * 3 + [2] * 2),
    ],
)
def test_four_and_six_arrays_are_splits(arrays, given):
    data = open_data(arrays)
    assert data.given.tolist() == given
    assert data.notes[0] == (
        "4 arrays are images and labels of 2 splits: the first for training, the second for "
        "validation; a dict with train, val and test says otherwise"
        if len(arrays) == 4
        else "6 arrays are images and labels of 3 splits: the first for training, the second for "
        "validation and the third for test; a dict with train, val and test says otherwise"
    )


def test_four_arrays_that_do_not_fit_are_refused():
    error = fail((X, Y[:5], X[:3], Y[:3]))
    assert isinstance(error, UsageError)
    assert error.message == (
        "4 arrays of shapes [6, 4, 4], [5], [3, 4, 4], [3] are not images and labels of 2 splits"
    )
    assert error.hint == "give pairs: ((x_train, y_train), (x_test, y_test))"


def test_columns_of_pandas_keep_their_own_order(tmp_path):
    pandas = pytest.importorskip("pandas")
    paths = [str(tmp_path / f"{k}.png") for k in range(6)]
    for k, path in enumerate(paths):
        Image.new("L", (4, 4), k).save(path)
    order = [3, 1, 5, 0, 2, 4]
    images = pandas.Series(paths).iloc[order]
    labels = pandas.Series(["a", "b"] * 3).iloc[order]
    data = open_data((images, labels))
    assert data.samples.labels.tolist() == [k % 2 for k in order]
    split = open_data((images[:4], images[4:], labels[:4], labels[4:]))
    assert split.given.tolist() == [0] * 4 + [1] * 2


def test_a_list_of_batches_is_cut_up():
    images = torch.arange(3, dtype=torch.uint8).reshape(3, 1, 1, 1).expand(3, 3, 4, 5)
    batches = [(images, torch.tensor([0, 1, 1])) for _ in range(3)] + [(images[:1], [0])]
    data = open_data(batches)
    assert data.samples.labels.tolist() == [0, 1, 1] * 3 + [0]
    assert data.reader.read(2).shape == (4, 5, 3)
    assert (data.reader.read(2) == 2).all()
    assert data.notes == ("a list of 4 batches: 10 images in all",)
    dicts = [{"image": images, "label": torch.tensor([0, 1, 1])} for _ in range(2)]
    split = open_data({"train": batches, "val": dicts})
    assert np.bincount(split.given).tolist() == [10, 6]


def test_a_dataset_whose_items_are_batches_is_refused():
    class Batches:
        def __len__(self):
            return 3

        def __getitem__(self, row):
            return torch.zeros(2, 3, 4, 5), torch.tensor([0, 1])

    error = fail(Batches())
    assert "row 0 is a batch: images of shape [2, 3, 4, 5] and 2 labels" in str(error)


@pytest.mark.parametrize("other", ["dataset", "loader", "batches"])
def test_a_list_of_batches_goes_with_a_dataset_a_loader_or_one_batch(other):
    tensors = TensorDataset(torch.rand(12, 1, 6, 6), torch.arange(12) % 3)
    train = list(DataLoader(tensors, 4))
    val = {
        "dataset": tensors,
        "loader": DataLoader(tensors, 5),
        "batches": list(DataLoader(tensors, 12)),
    }[other]
    data = open_data((train, val))
    assert data.given.tolist() == [0] * 12 + [1] * 12
    assert data.samples.labels.tolist() == 2 * tensors.tensors[1].tolist()
    stream = open_data((DataLoader(tensors, 4), train))
    image, label = stream.reader.loaders["val"][5]
    assert torch.equal(image, tensors[5][0])
    assert label == 2
