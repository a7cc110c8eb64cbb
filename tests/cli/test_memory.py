"""`loupe memory`: the parts, the peaks and the check against a real step."""

import json

import pytest

from torchloupe.cli.main import run


def test_memory_tells_a_step_and_checks_it(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["memory", "cnn", "--input", "1,28,28", "--batch", "40", "--device", "cpu", "--json"]
    assert run(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bytes"]["optimizer"] == pytest.approx(2 * found["bytes"]["weights"], rel=0.01)
    assert found["peak_bytes"]["measured"] == pytest.approx(found["peak_bytes"]["all"], rel=0.1)
    assert found["most_images"] > 40
    assert sum(module["weights"] for module in found["modules"]) == found["bytes"]["weights"]


def test_memory_is_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["memory", "cnn", "--input", "1,28,28", "--batch", "8", "--device", "cpu"]
    assert run([*words, "--no-check", "--optimizer", "sgd", "--precision", "fp32"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("cnn: a step of 8 images of 1 x 28 x 28 in fp32 on cpu\n")
    assert "state of sgd" in page
    assert "not tried" in page
    assert "enough for" in page


def test_memory_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["memory", "cnn", "--input", "28,28"]) == 2
    assert "--input takes channels,height,width" in capsys.readouterr().err
    assert run(["memory", "cnn", "--optimizer", "adm"]) == 2
    assert "adam" in capsys.readouterr().err
