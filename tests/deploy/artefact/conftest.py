"""Two runs of a minute's training and their exports, shared by all tests of this folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import torchloupe as loupe
from torchloupe.deploy.artefact.exporting import export_run
from torchloupe.trained.run import Run, open_run

SIZE = (24, 32)


def train(place: Path) -> None:
    """Fit it in place/run, to images in place/data."""
    rng = np.random.default_rng(0)
    for number, tint in enumerate(((200, 60, 40), (40, 180, 90), (60, 80, 220))):
        folder = place / "data" / f"class {number}"
        folder.mkdir(parents=True)
        for image in range(16):
            height, width = rng.integers(40, 120, 2)
            noise = rng.normal(0, 40, (height, width, 3)) + np.array(tint)
            picture = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
            ending = "jpg" if image % 2 else "png"
            picture.save(folder / f"{image}.{ending}")
    settings = {"data.size": "24x32", "data.fit": "crop", "hardware.precision": "fp32"}
    loupe.fit(place / "data", model="cnn", epochs=2, out=place / "run", settings=settings, seed=0)


@pytest.fixture(scope="session")
def photo_run(make_once: Callable[..., Path]) -> Run:
    """A small colour network, trained on files of odd sizes, cropped and resized."""
    return open_run(make_once("photo-run", train) / "run", device="cpu")


@pytest.fixture(scope="session")
def photo_export(photo_run: Run, make_once: Callable[..., Path]) -> Path:
    """Its export to ONNX, with the resize in the graph."""
    make_once("photo-export", lambda _: export_run(photo_run))
    return photo_run.folder / "export"
