"""Every example starts, trains a little, and says something."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_runs(path, tmp_path):
    done = subprocess.run(
        [sys.executable, str(path), "--epochs", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_fits_on_a_page(path):
    assert len(path.read_text().splitlines()) <= 60


def test_example_of_several_gpus_is_the_same_under_torchrun(tmp_path):
    """Two ranks print the lines of one process: rank 0 alone speaks, for all."""
    path = next(path for path in EXAMPLES if path.name == "several_gpus.py")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    said = [
        subprocess.run(
            [*start, str(path), "--epochs", "1"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=180,
            check=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        ).stdout.splitlines()
        for start in ([sys.executable], torchrun)
    ]
    assert said[0] == said[1]
    assert len(said[0]) == 1
    assert said[0][0].startswith("step 22: loss ")
