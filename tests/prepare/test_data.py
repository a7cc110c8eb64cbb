"""From a source to what a run sees: contract, statistics and notes, as its folder shows them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchloupe.cli import main
from torchloupe.config.schema import DataConfig
from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.sources import open_data
from torchloupe.errors import DataError
from torchloupe.prepare.data import prepare_evaluation_data

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("own_cache")


def fill(folder: Path, grey: int, count: int = 3) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("L", (8, 6), grey + number).save(folder / f"{grey}-{number}.png")


def train(folder: Path, out: Path, *more: str, code: int = 0) -> None:
    words = ["train", str(folder), "--model", "net", "--epochs", "1", "--device", "cpu"]
    assert main.run([*words, "--out", str(out), *more]) == code


def test_statistics_are_of_the_training_images_alone(tmp_path: Path) -> None:
    for split, grey in (("train", 50), ("val", 200), ("test", 250)):
        for name in ("a", "b"):
            fill(tmp_path / "data" / split / name, grey + (name == "b") * 50 * (split == "train"))
    train(tmp_path / "data", tmp_path / "run", "--quiet")
    contract = json.loads((tmp_path / "run" / "contract.json").read_text())
    pixels = np.array([50, 51, 52, 100, 101, 102]) / 255
    assert contract["mean"] == pytest.approx([pixels.mean()], abs=1e-6)
    assert contract["std"] == pytest.approx([pixels.std()], abs=1e-6)
    assert (contract["size"], contract["class_names"]) == ([6, 8], ["a", "b"])


def test_damaged_image_is_named_and_left_out(tmp_path: Path, capsys: Capture) -> None:
    for name, grey in (("a", 10), ("b", 200)):
        fill(tmp_path / "data" / name, grey, 12)
    (tmp_path / "data" / "a" / "odd\n.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    settings = ["--set", "data.bad_fraction=0.1"]
    train(tmp_path / "data", tmp_path / "run", *settings)
    assert "set aside: a/odd\\n.png: " in capsys.readouterr().err
    facts = json.loads((tmp_path / "run" / "environment.json").read_text())["data"]
    assert sum(facts[split] for split in ("train", "val", "test")) == 24
    train(tmp_path / "data", tmp_path / "other", code=3)
    assert not (tmp_path / "other" / "config.json").exists()


def test_files_that_are_no_images_are_counted(tmp_path: Path, capsys: Capture) -> None:
    for name, grey in (("a", 10), ("b", 200)):
        fill(tmp_path / "data" / name, grey, 8)
    (tmp_path / "data" / "a" / "notes.txt").write_text("x")
    train(tmp_path / "data", tmp_path / "run")
    assert "1 file passed over" in capsys.readouterr().err


def test_classes_of_other_data_are_aligned_by_name(tmp_path: Path, capsys: Capture) -> None:
    for name, grey in (("a", 10), ("b", 200)):
        fill(tmp_path / "data" / name, grey, 20)
    train(tmp_path / "data", tmp_path / "run", "--quiet", "--epochs", "5")
    fill(tmp_path / "new" / "b", 210)
    capsys.readouterr()
    assert main.run(["eval", str(tmp_path / "run"), str(tmp_path / "new"), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert scores["count"] == 3
    assert [sum(row) for row in scores["confusion"]] == [0, 3]
    fill(tmp_path / "new" / "zebra", 10)
    assert main.run(["eval", str(tmp_path / "run"), str(tmp_path / "new")]) == 3
    assert "zebra" in capsys.readouterr().err


def test_class_names_of_a_run_name_numbers_only_in_other_data(tmp_path: Path) -> None:
    images = np.zeros((4, 8, 8), np.uint8)
    named = open_data((images, np.array([0, 1, 1, 0])), class_names=("cat", "dog"))
    contract = choose_contract(named)
    config = DataConfig(class_names=("cat", "dog"), pack="memory")

    def labels_of(source: object) -> list[int]:
        return prepare_evaluation_data(config, source, contract).samples.labels.tolist()

    assert labels_of((images, np.array([0, 1, 1, 1]))) == [0, 1, 1, 1]
    # A file that names its classes in another order is aligned by name.
    np.savez(tmp_path / "own.npz", images=images, labels=[0, 1, 1, 1], classes=["dog", "cat"])
    assert labels_of(tmp_path / "own.npz") == [1, 0, 0, 0]
    np.savez(tmp_path / "new.npz", images=images, labels=[0, 1, 1, 1], classes=["dog", "emu"])
    with pytest.raises(DataError, match="1 class of the data the model does not know: emu"):
        labels_of(tmp_path / "new.npz")
