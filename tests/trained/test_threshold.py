"""The threshold of a sure prediction: found on val, kept in the contract, obeyed by predict."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import torchloupe as loupe
from torchloupe.cli import main
from torchloupe.errors import DataError, UsageError
from torchloupe.trained.threshold import find_threshold, read_threshold, set_threshold

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def run(noisy_run: Path, tmp_path: Path) -> loupe.Run:
    """A copy of the run, whose contract may be changed."""
    shutil.copytree(noisy_run, tmp_path / "run", symlinks=True)
    return loupe.open_run(tmp_path / "run", device="cpu")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.95precision", (0.95, True)), ("0.8", (0.8, False)), ("none", (None, False))],
)
def test_threshold_is_read(text: str, expected: tuple[float | None, bool]) -> None:
    assert read_threshold(text) == expected


@pytest.mark.parametrize("text", ["", "0.95recall", "precision", "0", "1.5", "nan", "95%"])
def test_other_words_are_no_threshold(text: str) -> None:
    with pytest.raises(UsageError, match="is no threshold of confidence"):
        read_threshold(text)


def test_threshold_takes_as_many_images_as_keep_the_precision() -> None:
    confidences = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    right = np.array([True, True, False, True, False])
    assert find_threshold(confidences, right, precision=0.75) == 0.6
    assert find_threshold(confidences, right, precision=0.9) == 0.8
    assert find_threshold(confidences, right, precision=0.6) == 0.5
    with pytest.raises(DataError, match=r"precision of 0.99 on val; the best is 0\.5"):
        find_threshold(confidences, np.array([False, True, False, True, False]), precision=0.99)


def test_threshold_is_kept_and_makes_predictions_unsure(run: loupe.Run) -> None:
    found = set_threshold(run, "0.97precision")
    val, test = found.splits
    assert (val.split, test.split) == ("val", "test")
    assert val.precision >= 0.97
    assert 0 < val.coverage < 1
    assert test.precision_ci95[0] < test.precision < test.precision_ci95[1]
    again = loupe.open_run(run.folder, device="cpu")
    assert again.contract == run.contract
    assert again.contract.threshold == found.value
    images = list(np.load(Path(again.config.data.source))["images"])
    for one in again.predict(images):
        assert one.unsure == (one.confidence < found.value)
    assert {one.unsure for one in again.predict(images)} == {True, False}
    set_threshold(run, "none")
    assert loupe.open_run(run.folder, device="cpu").contract.threshold is None


def test_threshold_of_several_labels_is_refused(run: loupe.Run) -> None:
    run.contract = replace(run.contract, multi_label=True)
    with pytest.raises(UsageError, match="a threshold is for one label an image"):
        set_threshold(run, "0.9")


def test_commands_set_a_threshold_and_say_unsure(
    run: loupe.Run, tmp_path: Path, capsys: Capture
) -> None:
    assert main.run(["eval", str(run.folder), "--threshold", "0.9precision", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["threshold"]
    assert found["asked"] == "0.9precision"
    assert [part["split"] for part in found["splits"]] == ["val", "test"]
    assert main.run(["eval", str(run.folder), "--threshold", "1"]) == 0
    assert capsys.readouterr().out.startswith("threshold       1.0000  (`loupe predict` says")
    Image.fromarray(np.load(run.config.data.source)["images"][0]).save(tmp_path / "a.png")
    words = ["predict", str(run.folder), str(tmp_path / "a.png")]
    assert main.run(words) == 0
    assert capsys.readouterr().out.split()[1] == "unsure"
    assert main.run([*words, "--format", "csv"]) == 0
    row = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert row["unsure"] == "true"
    assert main.run([*words, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["unsure"] is True
    assert main.run([*words, "--format", "json", "--raw"]) == 0
    assert "unsure" not in json.loads(capsys.readouterr().out)[0]


def test_val_decides_one_thing_at_a_time(run: loupe.Run, capsys: Capture) -> None:
    words = ["eval", str(run.folder), "--threshold", "0.8"]
    assert main.run([*words, "--views", "flip"]) == 2
    assert main.run(["eval", str(run.folder), "digits", "--threshold", "0.8"]) == 2
    assert "one at a time" in capsys.readouterr().err
