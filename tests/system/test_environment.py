"""environment.json: versions, machine and code, and no secret."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from torchloupe.system.environment import (
    describe_environment,
    describe_hardware,
    package_versions,
    read_git_state,
)

CPU = torch.device("cpu")


def test_environment_names_what_numbers_depend_on() -> None:
    found = json.loads(json.dumps(describe_environment(CPU, {"train": 9}, ranks=2)))
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert found["versions"]["python"] == sys.version.split()[0]
    assert found["hardware"]["device"] == "cpu"
    assert found["hardware"]["gpu"] is None
    assert found["hardware"]["ranks"] == 2
    assert found["hardware"]["threads"] == torch.get_num_threads()
    assert found["data"] == {"train": 9}
    assert found["started"].endswith("+00:00")


def test_environment_variables_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_A_TEST", "hunter2-hunter2")
    assert "hunter2" not in json.dumps(describe_environment(CPU, {}))


def test_packages_that_are_not_installed_are_left_out() -> None:
    found = package_versions()
    assert {"torch", "numpy", "pillow"} <= set(found)
    assert all(version[0].isdigit() for version in found.values())


def test_hardware_says_how_many_threads_compute() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert describe_hardware(CPU)["threads"] == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_state_is_the_commit_and_whether_files_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert read_git_state() is None

    def git(*words: str) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *words], check=True, capture_output=True)

    git("init")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "one")
    first = read_git_state()
    assert first is not None
    assert (len(first["commit"]), first["changed"]) == (40, False)
    (tmp_path / "new").write_text("not known to git: no change")
    assert read_git_state() == first
    (tmp_path / "a").write_text("2")
    assert read_git_state() == {**first, "changed": True}
