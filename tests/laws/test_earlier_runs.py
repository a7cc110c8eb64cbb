"""A run and a pack that version 0.1 wrote open, predict, evaluate and resume with today's code.

run-0.1.zip holds 24 images of 8x8 pixels in two classes, the run folder of two epochs of `net` on
them, and their pack. The numbers below are those of the code that wrote it.
"""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import torchloupe as loupe
from torchloupe.data.pack.format import read_pack

LOSS_AFTER_RESUME = 0.7605955600738525
ZIP = Path(__file__).with_name("run-0.1.zip")


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The content of run-0.1.zip, its two links as links, as the current folder."""
    with zipfile.ZipFile(ZIP) as archive:
        for info in archive.infolist():
            path = tmp_path / info.filename
            path.parent.mkdir(parents=True, exist_ok=True)
            if info.external_attr >> 28 == 0o12:
                path.symlink_to(archive.read(info).decode())
            else:
                path.write_bytes(archive.read(info))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("own_cache")
def test_earlier_run_predicts_and_evaluates(earlier: Path) -> None:
    run = loupe.open_run("run")
    assert run.class_names == ("dark", "light")
    found = run.predict(["images/dark/00.png", "images/light/03.png"])
    assert [prediction.label for prediction in found] == ["light", "dark"]
    assert [prediction.confidence for prediction in found] == pytest.approx(
        [0.5112264752388, 0.5691166520118713], abs=1e-5
    )
    assert run.evaluate()["loss"] == pytest.approx(0.7789503335952759, abs=1e-5)


@pytest.mark.usefixtures("own_cache")
def test_earlier_run_resumes_as_it_would_have(earlier: Path) -> None:
    run = loupe.resume("run", settings={"train.epochs": 4})
    losses = [event["val_loss"] for event in run.events if "val_loss" in event]
    assert len(losses) == 4
    assert losses[-1] == pytest.approx(LOSS_AFTER_RESUME, abs=1e-5)


def test_earlier_pack_is_read(earlier: Path) -> None:
    pack = read_pack(earlier / "pack")
    names = sorted((earlier / "images").rglob("*.png"), key=os.fspath)
    pixels = np.stack([np.asarray(Image.open(name)) for name in names])
    assert (pack.pixels[..., 0] == pixels).all()
