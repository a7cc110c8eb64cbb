"""Images as people hand them over, opened up to one after another with a name."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from torchloupe.data.inputs import list_images
from torchloupe.errors import DataError

PIXELS = np.zeros((4, 5, 3), np.uint8)


def names(*images: object) -> list[str]:
    return [name for name, _ in list_images(images)]


def test_folders_are_opened_up_in_order_without_hidden_and_other_files(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "deep/c.png", ".hidden/d.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    wanted = [str(tmp_path / name) for name in ("a.JPG", "b.png", "deep/c.png")]
    assert names(tmp_path) == names(str(tmp_path)) == wanted
    assert names(tmp_path / "notes.txt") == [str(tmp_path / "notes.txt")]  # asked for by name


def test_pictures_arrays_and_tensors_are_arrays() -> None:
    forms = [Image.fromarray(PIXELS), Image.new("L", (5, 4)), Image.new("P", (5, 4))]
    shapes = [image.shape for _, image in list_images([*forms, PIXELS, torch.ones(4, 5)])]
    assert shapes == [(4, 5, 3), (4, 5), (4, 5, 3), (4, 5, 3), (4, 5)]


def test_lists_are_opened_up(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    assert names([PIXELS, (PIXELS, tmp_path / "a.png")]) == [
        "image 0",
        "image 0",
        str(tmp_path / "a.png"),
    ]


def test_path_that_is_not_there_is_refused_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        names(tmp_path / "cta.jpg")
    assert caught.value.message == f"there is no file {tmp_path / 'cta.jpg'}"
    assert caught.value.hint == "did you mean 'cat.jpg'?"
    with pytest.raises(DataError) as caught:
        names(tmp_path / "no" / "cat.jpg")
    assert "is not there either" in caught.value.hint
