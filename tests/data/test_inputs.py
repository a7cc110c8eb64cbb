"""Images as people hand them over, taken apart into single ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from torchloupe.data.contract import Contract
from torchloupe.data.inputs import is_one_image, list_images
from torchloupe.data.sources import open_data
from torchloupe.errors import DataError, UsageError

GREY = Contract("L", 1, (8, 8), class_names=("a", "b"))
COLOUR = Contract("RGB", 3, (8, 8), class_names=("a", "b"))


def pixels(*shape: int) -> np.ndarray:
    return np.arange(int(np.prod(shape)), dtype=np.uint8).reshape(shape)


class Dicts(Dataset):
    def __init__(self, key: str) -> None:
        self.key = key

    def __len__(self) -> int:
        return 3

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {self.key: torch.from_numpy(pixels(3, 8, 8)), "label": row}


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        yield from ((Image.new("L", (8, 8)), 0, "a.png"), (Image.new("L", (8, 8)), 1, "b.png"))


class Broken(Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, row: int) -> Any:
        raise OSError("no such disk")


TENSORS = TensorDataset(torch.zeros(5, 1, 8, 8, dtype=torch.uint8), torch.arange(5))


@pytest.mark.parametrize(
    ("source", "contract", "count"),
    [
        (pixels(8, 8), GREY, 0),
        (pixels(8, 8, 3), GREY, 0),
        (pixels(3, 20, 20), GREY, 0),
        (torch.zeros(1, 8, 8), GREY, 0),
        (torch.zeros(3, 8, 8), COLOUR, 0),
        (Image.new("RGBA", (5, 5)), COLOUR, 0),
        (b"bytes", COLOUR, 0),
        ("no/such/file.png", COLOUR, 0),
        (TENSORS[0], GREY, 0),
        ((Image.new("L", (8, 8)), 3), GREY, 0),
        ({"image": pixels(8, 8)}, GREY, 0),
        (pixels(5, 8, 8), GREY, 5),
        (pixels(5, 8, 8, 1), GREY, 5),
        (torch.zeros(5, 3, 8, 8), COLOUR, 5),
        (torch.zeros(1, 3, 8, 8), COLOUR, 1),
        ([pixels(8, 8)], GREY, 1),
        ([pixels(8, 8), pixels(8, 8)], GREY, 2),
        ([torch.zeros(5, 1, 8, 8), torch.arange(5)], GREY, 5),
        ((torch.zeros(5, 1, 8, 8), torch.zeros(5, 2)), GREY, 5),
        ((pixels(5, 8, 8, 1), [0, 1, 0, 1, 0]), GREY, 5),
        ({"pixel_values": torch.zeros(5, 1, 8, 8), "labels": torch.arange(5)}, GREY, 5),
        (TENSORS, GREY, 5),
        (DataLoader(TENSORS, batch_size=2), GREY, 5),
        (Dicts("img"), COLOUR, 3),
        (DataLoader(Dicts("image"), batch_size=2), COLOUR, 3),
        (Stream(), GREY, 2),
        (iter([pixels(8, 8), pixels(8, 8)]), GREY, 2),
        ([pixels(8, 8), [pixels(8, 8), TENSORS]], GREY, 7),
    ],
)
def test_what_holds_one_image_and_what_holds_several(
    source: Any, contract: Contract, count: int
) -> None:
    assert is_one_image(source, contract) is (count == 0)
    if not isinstance(source, str):
        found = list(list_images(source, contract))
        assert [name for name, _ in found] == [f"image {k}" for k in range(max(count, 1))]


def test_a_tensor_keeps_its_channels_first_and_an_array_its_own_layout() -> None:
    tensor = torch.from_numpy(pixels(3, 8, 8))
    ((_, image),) = list_images(tensor, COLOUR)
    assert np.array_equal(image, tensor.numpy().transpose(1, 2, 0))
    ((_, image),) = list_images(torch.zeros(3, 8, 8, dtype=torch.bfloat16), COLOUR)
    assert image.dtype == np.float32


def test_opened_data_and_folders_keep_their_names(tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/2.png", ".hidden/3.png", "dog/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / name, "PNG")
    names = [name for name, _ in list_images(tmp_path, GREY)]
    assert names == [str(tmp_path / "cat" / "1.png"), str(tmp_path / "dog" / "2.png")]
    names = [name for name, _ in list_images(open_data(tmp_path), GREY)]
    assert names == ["cat/1.png", "dog/2.png"]


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        (
            pixels(5, 64),
            "an array of shape [5, 64] is one flat row of pixels an image",
            "use images.reshape(-1, 8, 8)",
        ),
        (
            pixels(3, 8, 8),
            "an array of shape [3, 8, 8] is one image of 3 channels or 3 grey images",
            "use images[None] for one image, images[:, None] for grey images",
        ),
        (
            np.arange(3),
            "an array of shape [3] is neither an image nor a batch of images",
            "give paths, a folder, PIL images, arrays or tensors of pixels, a Dataset or a "
            "DataLoader",
        ),
        (
            {"a": 1, "b": 2},
            "a dict with the keys a, b has no image",
            "name the image one of image, images, img, pixel_values, x, inputs",
        ),
        (
            {"image": pixels(8, 8), "img": pixels(8, 8)},
            "a dict with the keys image, img has several images",
            "name the image one of image, images, img, pixel_values, x, inputs",
        ),
        (
            3,
            "int is no image",
            "give paths, a folder, PIL images, arrays or tensors of pixels, a Dataset or a "
            "DataLoader",
        ),
    ],
)
def test_what_is_no_image_is_refused(source: Any, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        list(list_images(source, GREY))
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_dataset_that_fails_is_named_by_its_row() -> None:
    with pytest.raises(DataError) as caught:
        list(list_images(Broken(), GREY))
    assert caught.value.message == "row 0 can't be read: OSError: no such disk"
    assert caught.value.hint == "dataset[0] fails by itself too: fix it there"


def test_a_path_that_does_not_exist_is_refused_before_any_image_is_given(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "cat.png")
    images = list_images([tmp_path / "cat.png", tmp_path / "cta.png"], GREY)
    with pytest.raises(DataError) as caught:
        next(images)
    assert caught.value.message == f"there is no file {tmp_path / 'cta.png'}"
    assert caught.value.hint == "did you mean 'cat.png'?"


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ((torch.zeros(1, 8, 8), "cat"), 0),
        ([torch.zeros(1, 8, 8), "cat"], 0),
        ((pixels(8, 8), "a.png"), 2),
        ((Image.new("L", (8, 8)), b"cat"), 0),
        ((torch.zeros(1, 8, 8), ["cat", "dog"]), 0),
        ([(torch.zeros(1, 8, 8), "cat"), (torch.zeros(1, 8, 8), "dog")], 2),
        ([(torch.zeros(1, 8, 8), "cat", "a.png")], 1),
        ([("a.png", "cat"), ("a.png", 1)], 2),
        ([torch.zeros(1, 8, 8), "a.png"], 2),
    ],
)
def test_labels_that_are_texts_are_left_out_and_no_paths(source, count, tmp_path, monkeypatch):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    assert is_one_image(source, GREY) == (count == 0)
    assert len(list(list_images(source, GREY))) == (count or 1)


def test_a_path_that_is_missing_beside_an_image_is_still_told():
    with pytest.raises(DataError, match=r"there is no file gone\.png"):
        list(list_images([torch.zeros(1, 8, 8), "gone.png"], GREY))
