"""An exported folder gives the predictions and metrics of its run, and refuses damage."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from torchloupe.cli.main import run as loupe_command
from torchloupe.deploy.artefact.opened import open_export, open_labeller, open_trained
from torchloupe.errors import CheckpointError, UsageError
from torchloupe.trained.run import Run


def data_of(run: Run) -> Path:
    """The folder that a run was trained on."""
    return Path(run.config.data.source)


def test_open_export_predicts_files_bytes_and_arrays_as_the_run_does(
    photo_run: Run, photo_export: Path
) -> None:
    exported = open_export(photo_export)
    file = next(data_of(photo_run).rglob("*.jpg"))
    wanted = photo_run.predict(file)
    for image in (file, file.read_bytes(), photo_run.contract.decode(file.read_bytes())):
        found = exported.predict(image)
        assert found.label == wanted.label
        assert found.confidence == pytest.approx(wanted.confidence, abs=1e-5)
    assert [one.label for one in exported.predict([file, file])] == [wanted.label] * 2


def test_open_export_knows_classes_temperature_and_threshold(
    photo_run: Run, photo_export: Path
) -> None:
    exported = open_export(photo_export)
    assert exported.class_names == photo_run.class_names
    assert exported.temperature == photo_run.contract.temperature
    assert exported.threshold == photo_run.contract.threshold
    assert "onnx" in repr(exported)


def test_logits_become_the_probabilities(photo_run: Run, photo_export: Path) -> None:
    exported = open_export(photo_export)
    pixels = np.random.default_rng(1).integers(0, 256, (5, 24, 32, 3), dtype=np.uint8)
    logits = exported.logits(pixels) / exported.temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True)
    assert np.abs(shares - exported.probabilities(pixels)).max() < 1e-6


def test_evaluate_gives_the_metrics_of_the_run(photo_run: Run, photo_export: Path) -> None:
    exported = open_export(photo_export)
    wanted, found = photo_run.evaluate(data_of(photo_run)), exported.evaluate(data_of(photo_run))
    assert found["accuracy"] == wanted["accuracy"]
    assert found["confusion"] == wanted["confusion"]
    assert found["count"] == 48
    with pytest.raises(UsageError, match="no data of its own"):
        exported.evaluate()


def test_damaged_export_is_refused(photo_export: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(photo_export, copy)
    model = copy / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match=r"model\.onnx .* SHA-256 differs"):
        open_export(copy)
    model.unlink()
    with pytest.raises(CheckpointError, match="can't be read"):
        open_export(copy)


def test_open_trained_tells_runs_from_exports(photo_run: Run, photo_export: Path) -> None:
    assert isinstance(open_trained(photo_run.folder), Run)
    assert not isinstance(open_trained(photo_export), Run)
    with pytest.raises(UsageError, match="--device is for a run"):
        open_trained(photo_export, device="cpu")


def test_commands_take_an_exported_folder(
    photo_run: Run, photo_export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = data_of(photo_run)
    file = next(data.rglob("*.png"))
    assert loupe_command(["predict", str(photo_export), str(file), "--format", "csv"]) == 0
    assert photo_run.predict(file).label in capsys.readouterr().out
    assert loupe_command(["eval", str(photo_export), str(data)]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert loupe_command(["eval", str(photo_export)]) == 2


def test_fast_says_that_it_changes_nothing_for_an_export(photo_export: Path, capsys) -> None:
    assert open_labeller(photo_export, fast=True).class_names
    assert "--fast changes nothing for an exported folder" in capsys.readouterr().err
