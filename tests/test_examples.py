"""Every example starts, trains a little, and says something."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from children import run_python

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_runs(path, tmp_path):
    done = run_python([str(path), "--epochs", "1"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_fits_on_a_page(path):
    assert len(path.read_text().splitlines()) <= 60


def test_example_of_several_gpus_is_the_same_under_torchrun(tmp_path):
    """Two ranks print the lines of one process: rank 0 alone speaks, for all."""
    path = next(path for path in EXAMPLES if path.name == "several_gpus.py")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    words = [str(path), "--epochs", "1"]
    alone = run_python(words, tmp_path, environment)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *words]
    ranks = subprocess.run(
        torchrun,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
        env=environment,
    )
    assert alone.stdout == ranks.stdout, alone.stderr
    assert len(alone.stdout.splitlines()) == 1
    assert alone.stdout.startswith("step 22: loss ")
