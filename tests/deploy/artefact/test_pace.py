"""Libraries are compared in turns on the network of a run, and the fastest is named."""

import pytest

from torchloupe.cli.main import run as loupe_command
from torchloupe.deploy.artefact.pace import Pace, fastest, measure_paces
from torchloupe.trained.run import Run


def test_fastest_is_that_of_its_batch() -> None:
    paces = [
        Pace("PyTorch", 1, 5, 4, 6),
        Pace("OpenVINO", 1, 9, 8, 9),
        Pace("PyTorch", 32, 20, 1, 30),
    ]
    assert fastest(paces, 1).library == "OpenVINO"
    assert fastest(paces, 32).library == "PyTorch"
    wrong = Pace("OpenVINO", 32, 90, 80, 99, difference=0.2)
    assert fastest([*paces, wrong], 32).library == "PyTorch"


def test_paces_are_measured_for_each_library(photo_run: Run) -> None:
    paces = measure_paces(photo_run, seconds=0.02)
    seen = {(pace.library, pace.batch) for pace in paces}
    assert seen >= {(name, batch) for name in ("PyTorch", "ONNX Runtime") for batch in (1, 32)}
    assert all(p.agrees for p in paces)
    assert any(p.difference > 0 for p in paces)
    assert all(0 < p.slowest <= p.images_per_second <= p.fastest for p in paces)


def test_export_of_probe_takes_no_options_of_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert loupe_command(["probe", "runs/photos", "--export", "--device", "cpu"]) == 2
    assert "leave --set and --device out" in capsys.readouterr().err
