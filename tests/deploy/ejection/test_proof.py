"""Weights of a trained file beside those of its run."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from torchloupe.deploy.ejection.proof import compare, prove
from torchloupe.errors import CheckpointError

PAGE = """
from pathlib import Path

import torch

DATA = Path("value.txt")


def train():
    torch.save({"model": {"a": torch.full((2,), float(DATA.read_text()))}}, "last.pt")
"""


def test_every_tensor_is_compared_bit_for_bit() -> None:
    a = {"same": torch.ones(3), "other": torch.zeros(2), "gone": torch.ones(1)}
    b = {"same": torch.ones(3), "other": torch.tensor([0.0, 1e-7]), "new": torch.ones(1)}
    found = compare(a, b)
    assert found.different == ("gone", "new", "other")
    assert found.largest == pytest.approx(1e-7)
    assert found.share == pytest.approx(1e-7 / 2)  # of 1, 1, 1, 0, 0 and 1
    halved = compare({"a": torch.tensor([3.0, 4.0])}, {"a": torch.tensor([1.5, 2.0])})
    assert (halved.largest, halved.share) == (2.0, pytest.approx(0.5))
    assert not found.is_equal
    assert compare(a, dict(a)).is_equal


def test_a_file_is_trained_elsewhere_with_the_data_of_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run" / "last").mkdir(parents=True)
    save_file({"a": torch.full((2,), 3.0)}, tmp_path / "run" / "last" / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "value.txt").write_text("3")
    assert prove(PAGE, tmp_path / "run").is_equal
    (tmp_path / "value.txt").write_text("4")
    assert prove(PAGE, tmp_path / "run").largest == 1.0
    assert not (tmp_path / "last.pt").exists()
    with pytest.raises(CheckpointError, match="no data here"):
        prove("def train():\n    raise SystemExit('no data here')\n", tmp_path / "run")
