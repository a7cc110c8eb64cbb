"""Every example starts, trains a little, and says something."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from children import run_python
from ranks import free_port

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
SEVERAL = next(path for path in EXAMPLES if path.name == "several_gpus.py")
ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_runs(path, tmp_path):
    done = run_python([str(path), "--epochs", "1"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_fits_on_a_page(path):
    assert len(path.read_text().splitlines()) <= 60


@pytest.fixture
def alone(tmp_path):
    """What the example of several GPUs prints in one process."""
    done = run_python([str(SEVERAL), "--epochs", "1"], tmp_path, ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert done.stdout.startswith("step 22: loss ")
    return done.stdout


def test_example_of_several_gpus_is_the_same_on_two_ranks(alone, tmp_path):
    """Two ranks print the lines of one process: rank 0 alone speaks, for all."""
    port = free_port()

    def run_rank(rank):
        seat = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
        seat |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {**ENVIRONMENT, **{name: str(value) for name, value in seat.items()}}
        return run_python([str(SEVERAL), "--epochs", "1"], tmp_path, environment)

    with ThreadPoolExecutor(2) as pool:
        ranks = list(pool.map(run_rank, range(2)))
    assert [done.returncode for done in ranks] == [0, 0], ranks[0].stderr + ranks[1].stderr
    assert [done.stdout for done in ranks] == [alone, ""]


@pytest.mark.slow
def test_example_of_several_gpus_is_the_same_under_torchrun(alone, tmp_path):
    words = ["--standalone", "--nproc-per-node", "2", str(SEVERAL), "--epochs", "1"]
    ranks = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
        env=ENVIRONMENT,
    )
    assert ranks.stdout == alone
