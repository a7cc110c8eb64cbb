"""Arrays further down in a folder: the folder or file to give is named."""

import pytest
from trees import fail, plant

from torchloupe.data.sources.arrays_below import hint_for_arrays_below


@pytest.mark.parametrize(
    ("files", "place"),
    [
        (("MNIST/processed/training.pt", "MNIST/processed/test.pt"), "MNIST/processed"),
        (("mine/data_batch_1", "mine/test_batch", "README.md"), "mine"),
        (("gzip/emnist-balanced-train-images-idx3-ubyte.gz",), "gzip"),
        (("a/x_train.npy", "a/y_train.npy", "b/notes.txt"), "a"),
        (("a/b/set.h5",), "a/b/set.h5"),
        (("a/data.npz",), "a/data.npz"),
    ],
)
def test_arrays_below_are_named(tmp_path, files, place):
    plant(tmp_path, *files)
    assert fail(tmp_path).hint == f"did you mean '{tmp_path / place}'?"


def test_arrays_of_splits_are_to_be_put_together(tmp_path):
    names = [f"{split}/{name}.npy" for split in ("train", "test") for name in ("images", "labels")]
    plant(tmp_path, *names)
    assert fail(tmp_path).hint == (
        "put the arrays of 'test', 'train' into one folder: 'train_images.npy', "
        "'train_labels.npy', 'test_images.npy', 'test_labels.npy'"
    )


@pytest.mark.parametrize("files", [("cat/1.npy", "cat/2.npy"), ("cat/1.npz",), ("cat/notes.txt",)])
def test_files_of_an_image_each_are_none(tmp_path, files):
    assert hint_for_arrays_below(plant(tmp_path, *files)) == ""
