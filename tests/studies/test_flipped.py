"""Thumbnails of images that runs disagree on."""

from pathlib import Path

import numpy as np
import pytest

import torchloupe as loupe
from torchloupe.cli import main
from torchloupe.studies.flipped import read_flipped


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("flipped")
    images = np.random.default_rng(0).integers(0, 255, (60, 8, 8), dtype=np.uint8)
    np.savez(home / "data.npz", images=images, labels=np.arange(60) % 2)
    words = ["train", str(home / "data.npz"), "--model", "net", "--epochs", "1", "--quiet"]
    assert main.run([*words, "--out", str(home / "run")]) == 0
    return home / "run"


def test_images_are_those_of_their_ids(run: Path) -> None:
    found = read_flipped(run, ["7", "3", "no such id", "9"], most=3)
    assert list(found) == ["7", "3"]
    images = np.load(run.parent / "data.npz")["images"]
    assert (found["7"] == images[7][..., None]).all()
    assert found["7"].shape == (8, 8, 3)


def test_data_that_are_gone_give_no_images(run: Path, tmp_path: Path) -> None:
    pair = (np.zeros((40, 8, 8), np.uint8), np.arange(40) % 2)
    made = loupe.fit(pair, model="net", epochs=0.5, out=tmp_path / "run")
    assert read_flipped(made.folder, ["0"]) == {}
    assert read_flipped(tmp_path / "nowhere", ["0"]) == {}
