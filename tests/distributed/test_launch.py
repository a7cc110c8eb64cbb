"""Ranks started by the command itself: they end together, with the exit code of the first."""

import os
import subprocess
import sys

import pytest

LAUNCH = """
import sys
from torchloupe.distributed.launch import launch
from torchloupe.errors import LoupeError
try:
    launch(2, sys.argv[1:])
except LoupeError as error:
    print(type(error).__name__, error.exit_code, error.message)
"""


def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    """From an interpreter of its own: the launcher changes loggers and signals of its process."""
    return subprocess.run(
        [sys.executable, "-c", LAUNCH, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.skipif(os.name == "nt", reason="gloo and signals")
def test_every_rank_runs_the_command() -> None:
    done = launch("--version")
    assert done.stdout.count("torchloupe ") == 2
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="gloo and signals")
def test_failure_of_a_rank_is_that_of_the_command() -> None:
    done = launch("trian")
    name, code, *_ = done.stdout.split()
    assert (name, code) == ("RankFailed", "2")
    assert "there is no command 'trian'" in done.stderr
