"""`loupe export` as a command: what it prints, and how it refuses."""

import json
from pathlib import Path

import pytest

from torchloupe.cli.export import describe
from torchloupe.cli.main import run as loupe_command
from torchloupe.trained.run import Run


def test_command_exports_weights_and_prints_json(
    photo_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "weights"
    words = ["export", str(photo_run.folder), "--to", "safetensors", "--out", str(out)]
    assert loupe_command([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["folder"] == str(out)
    assert found["tensors"] == len(photo_run.model.state_dict())
    assert loupe_command(words) == 0  # an older export is replaced
    assert "those of the checkpoint" in capsys.readouterr().out


def test_summary_says_what_was_proved(photo_export: Path) -> None:
    facts = json.loads((photo_export / "export.json").read_text())
    text = describe(photo_export, facts).plain
    assert "same class          100.00 % of" in text
    assert "opset 20, IR version 10" in text
    assert "model.onnx (" in text
    assert "loupe predict " in text


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--to", "torchscript"], 2, "take --to onnx to run anywhere"),
        (["--to", "TFLite"], 2, "hint: --to onnx --input fixed, then onnx2tf -i model.onnx"),
        (["--to", "coreml"], 2, "hint: --to pt2 --input fixed, then coremltools"),
        (["--max-drop", "-1"], 2, "should be 0 to 100"),
        (["--files", "0"], 2, "should be 1 or more"),
    ],
)
def test_command_refuses(
    words: list[str], code: int, said: str, photo_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert loupe_command(["export", str(photo_run.folder), *words]) == code
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown.strip().splitlines()) == 2


def test_command_refuses_a_folder_with_other_files(
    photo_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert loupe_command(["export", str(photo_run.folder), "--out", str(tmp_path)]) == 2
    assert "holds no export" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
