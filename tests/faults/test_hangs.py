"""R11: what gives no sign of life is noticed and named; nothing is waited for without end."""

import os
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from children import run_loupe
from PIL import Image

from torchloupe.data.pack import decoding, pixels
from torchloupe.data.pack.decoding import Decoding


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """40 small images of two classes."""
    chance = np.random.default_rng(0)
    for row in range(40):
        path = tmp_path / "photos" / "ab"[row % 2] / f"{row:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (9, 9, 3), np.uint8)).save(path)
    return tmp_path / "photos"


def hang(name: str, method: str, seconds: float, folder: Path) -> None:
    """In a child: the image of that name never comes out of a method of Decoding."""
    os.environ["XDG_CACHE_HOME"] = str(folder)
    decoding.HUNG_SECONDS = pixels.HUNG_SECONDS = seconds
    real = getattr(Decoding, method)

    def read(work: Decoding, row: int, *rest: object) -> object:
        if str(work.data.samples.ids[row]) == name and (folder / "run").exists() == is_later:
            threading.Event().wait()
        return real(work, row, *rest)

    is_later = method == "decode_again"
    setattr(Decoding, method, read)


@pytest.mark.parametrize(
    ("pack", "method", "named"),
    [("disk", "_do_row", "b/07.png"), ("off", "decode_again", "row 23")],
    ids=["packing", "training"],
)
@pytest.mark.parametrize("seconds", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_image_that_never_comes_is_named_and_ends_the_command(
    photos: Path, tmp_path: Path, pack: str, method: str, named: str, seconds: int
) -> None:
    words = ["train", str(photos), "--out", str(tmp_path / "run"), "--quiet", "--epochs", "9"]
    words += ["--set", f"data.pack={pack}", "--set", "train.batch_total=8"]
    start = time.monotonic()
    before = partial(hang, "b/07.png", method, seconds, tmp_path)
    code, said = run_loupe(words, tmp_path / "said.txt", before)
    assert code == 6, said
    assert f"hangs: for {seconds} s no image has come; being read: {named}" in said
    assert "Traceback" not in said
    assert time.monotonic() - start < seconds + 60
