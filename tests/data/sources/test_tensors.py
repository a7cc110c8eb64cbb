"""Tensors in .pt, .safetensors and HDF5 files."""

import os

import pytest
import torch
from safetensors.torch import save_file

from torchloupe.data.sources import open_data
from torchloupe.errors import DataError, LoupeError

IMAGES = (torch.arange(6 * 16) % 251).reshape(6, 4, 4).to(torch.uint8)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def fail(source, **options):
    with pytest.raises(LoupeError) as caught:
        open_data(source, **options)
    return caught.value


@pytest.mark.parametrize(
    "content",
    [
        (IMAGES, LABELS),
        [IMAGES, LABELS],
        {"images": IMAGES, "labels": LABELS},
        {"train": (IMAGES, LABELS), "test": (IMAGES, LABELS)},
        {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS},
        (IMAGES, LABELS, IMAGES, LABELS),
        [(image, int(label)) for image, label in zip(IMAGES, LABELS, strict=True)],
    ],
)
def test_torch_files_of_tensors_are_read(tmp_path, content):
    path = tmp_path / "set.pt"
    torch.save(content, path)
    data = open_data(path)
    assert data.name == "set"
    assert data.samples.labels[:6].tolist() == LABELS.tolist()
    assert (data.reader.read(2) == IMAGES[2].numpy()[..., None]).all()
    assert open_data(path).stamp == data.stamp


def test_torch_files_of_splits_in_a_folder(tmp_path):
    for name in ("training", "test"):
        torch.save((IMAGES, LABELS), tmp_path / f"{name}.pt")
    assert open_data(tmp_path).given.tolist() == [0] * 6 + [2] * 6


class Evil:
    """Pickled, it would make a folder when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_torch_files_never_run_code(tmp_path):
    path = tmp_path / "set.pt"
    torch.save({"images": IMAGES, "labels": Evil(tmp_path / "sprung")}, path)
    error = fail(path)
    assert error.message == (
        f"{path} holds Python objects: reading those can run code, and is refused"
    )
    assert error.hint == (
        "save plain tensors: torch.save((images, labels), path); or load it in a file of your own "
        "and give file.py:NAME"
    )
    assert not (tmp_path / "sprung").exists()


def test_torch_files_of_weights_or_damage_are_named(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(torch.nn.Linear(2, 3).state_dict(), path)
    error = fail(path)
    assert error.message == f"{path} holds the weights of a model, not images"
    assert error.hint == "give the images as data, and these with --weights"
    path.write_bytes(b"x")
    error = fail(path)
    assert isinstance(error, DataError)
    assert error.message.startswith(f"{path} ")


def test_safetensors_are_read(tmp_path):
    path = tmp_path / "set.safetensors"
    save_file({"images": IMAGES, "labels": LABELS}, path)
    data = open_data(path)
    assert (data.name, data.reader.array.shape) == ("set", (6, 4, 4, 1))
    path.write_bytes(b"x" * 20)
    assert fail(path).message.startswith(f"{path} can't be read as safetensors: ")
