"""The most memory of each phase by itself."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from torchloupe.hardware.peaks import Peaks, peak_memory_bytes

CPU = torch.device("cpu")
LARGE = 80_000_000


def test_peak_is_that_of_a_process_with_torch_in_it() -> None:
    assert 50e6 < peak_memory_bytes(CPU) < 50e9


def use_much(device: torch.device) -> None:
    torch.ones(LARGE, dtype=torch.uint8, device=device).sum()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_phases_are_counted_each_by_itself() -> None:
    # In a process of its own: one that has freed much takes it again without growing.
    code = "import torch, test_peaks; test_peaks.check_phases(torch.device('cpu'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False)
    assert done.returncode == 0


@pytest.mark.gpu
def test_phases_on_a_gpu_are_counted_each_by_itself() -> None:
    check_phases(torch.device("cuda", 0))


def check_phases(device: torch.device) -> None:
    peaks = Peaks(device)
    with peaks.phase("train"):
        with peaks.phase("evaluate"):
            use_much(device)
        torch.ones(1000, device=device)
    assert peaks.bytes["evaluate"] - peaks.bytes["train"] > 0.8 * LARGE
    with peaks.phase("train"):
        use_much(device)
    assert peaks.bytes["train"] > 0.8 * LARGE
    assert list(peaks.bytes) == ["train", "evaluate"]
