"""`loupe look`: from a run and an image to a picture and a page."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import torchloupe as loupe
from torchloupe.cli import main
from torchloupe.errors import DataError

Capture = pytest.CaptureFixture[str]
OWN_MODEL = """
from torch import nn

class Mine(nn.Module):
    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(in_channels, 6, 3, padding=1), nn.ReLU(inplace=True))
        self.head = nn.Linear(6, num_classes)

    def forward(self, images):
        return self.head(self.body(images).mean(dim=(2, 3)))

class Flat(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Flatten(), nn.Linear(64, num_classes))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short runs of the digits, one image, and the code of the models."""
    folder = tmp_path_factory.mktemp("looks")
    (folder / "mine.py").write_text(OWN_MODEL)
    for name, model in (("net", "net"), ("mine", f"{folder}/mine.py:Mine")):
        loupe.fit("digits", model=model, epochs=1, out=folder / name)
    loupe.fit("digits", model=f"{folder}/mine.py:Flat", epochs=1, out=folder / "flat")
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a digit.png")
    return folder


def test_look_writes_a_picture_and_a_page_into_the_run(place: Path, capsys: Capture) -> None:
    assert main.run(["look", str(place / "net"), str(place / "a digit.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    files = [place / "net" / "looks" / f"a-digit.{kind}" for kind in ("png", "html")]
    assert lines[-2:] == [str(file) for file in files]
    assert lines[5] == "Grad-CAM of layer conv"
    assert lines[0].endswith(" %")
    with Image.open(files[0]) as picture:
        assert picture.size[0] == 1600
    page = files[1].read_text()
    assert page.startswith("<!doctype html>")
    assert "a digit.png, seen by net" in page


def test_look_of_ones_own_model_takes_a_layer_and_a_place(place: Path, capsys: Capture) -> None:
    words = ["look", str(place / "mine"), str(place / "a digit.png"), "--layer", "body*"]
    assert main.run([*words, "--out", str(place / "seen.png")]) == 2
    assert "someone's own code" in capsys.readouterr().err
    words += ["--model", f"{place}/mine.py:Mine", "--out", str(place / "seen.png"), "--json"]
    assert main.run(words) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["png"], facts["html"]) == (str(place / "seen.png"), str(place / "seen.html"))
    assert facts["layer"] == "body"
    assert sum(facts["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    page = (place / "seen.html").read_text()
    assert "<h2>body.0 <small>Conv2d, 6 maps of 8 x 8</small></h2>" in page


@pytest.mark.parametrize(
    ("run", "words", "code", "message"),
    [
        ("flat", [], 2, "no layer of this model gives maps of the image"),
        ("net", ["--layer", "fc"], 2, "layer fc gives no maps of the image"),
        ("net", ["--layer", "cnov"], 2, "no layer matches 'cnov'"),
        ("net", ["--out", "nowhere/at/all"], 6, "can't write nowhere/at/all.png"),
    ],
)
def test_look_says_why_it_can_not_be_had(place, capsys, run, words, code, message) -> None:
    command = ["look", str(place / run), str(place / "a digit.png"), "--trust-code", *words]
    assert main.run(command) == code
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err.splitlines()[-2].startswith(f"error: {message}")
    assert seen.err.splitlines()[-1].startswith("hint: ")


def test_look_of_what_is_no_image_is_an_error(place: Path, capsys: Capture) -> None:
    (place / "text.png").write_text("<html>")
    assert main.run(["look", str(place / "net"), str(place / "text.png")]) == 3
    assert "text.png can't be read: " in capsys.readouterr().err
    assert main.run(["look", str(place / "net"), str(place / "a digt.png")]) == 3
    assert "did you mean 'a digit.png'?" in capsys.readouterr().err


def test_look_from_python_takes_what_predict_takes(place: Path) -> None:
    run = loupe.open_run(place / "net")
    image = place / "a digit.png"
    look = run.look(image, layers="conv")
    assert dict(look.ranking) == pytest.approx(run.predict(image, top=10).probabilities, abs=1e-6)
    assert look.pixels.shape == (8, 8, 3)
    assert [layer.name for layer in look.layers] == ["conv"]
    assert look.layers[0].channels == 32
    with pytest.raises(DataError, match="look takes one image, and these are 2"):
        run.look([image, image])


def test_class_names_from_strangers_are_text_everywhere(tmp_path: Path, capsys: Capture) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", images=images, labels=np.arange(40) % 2)
    names = ["<script>alert(1)</script>", "\x1b[31mred"]
    loupe.fit(
        str(tmp_path / "d.npz"),
        model="net",
        epochs=1,
        out=tmp_path / "run",
        settings={"data.class_names": names},
    )
    Image.fromarray(images[0]).save(tmp_path / "x.png")
    capsys.readouterr()
    assert main.run(["look", str(tmp_path / "run"), str(tmp_path / "x.png")]) == 0
    page = (tmp_path / "run" / "looks" / "x.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\x1b" not in page + capsys.readouterr().out
