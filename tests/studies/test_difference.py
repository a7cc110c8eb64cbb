"""Two runs compared: what differs by name, and from which step on."""

import json
import shutil
from pathlib import Path

import pytest

from torchloupe.cli import main
from torchloupe.errors import UsageError
from torchloupe.studies.difference import compare_runs

WORDS = ["train", "digits", "--model", "net", "--epochs", "0.2", "--device", "cpu", "--quiet"]
WORDS += ["--set", "train.log_every_steps=1"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two equal runs, `one` and `two`, and `other` of another seed."""
    folder = tmp_path_factory.mktemp("difference")
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        assert main.run([*WORDS, "--seed", str(seed), "--out", str(folder / name)]) == 0
    return folder


def test_equal_runs_have_no_difference(home: Path) -> None:
    found = compare_runs(home / "one", str(home / "two"))
    assert found.is_none
    assert found.settings == {}
    assert found.compared_steps == found.last_steps[0] == found.last_steps[1]
    assert found.final == {"model": True, "optimizer": True}


def test_runs_of_other_seeds_part_at_once(home: Path) -> None:
    found = compare_runs(home / "one", home / "other")
    assert not found.is_none
    assert found.settings == {"train.seed": (0, 1)}
    assert found.first_loss_step == found.first_weights_step == 1
    assert found.final == {"model": False, "optimizer": False}


def test_difference_is_plain_values(home: Path) -> None:
    found = json.loads(json.dumps(compare_runs(home / "one", home / "other").as_dict()))
    assert found["equal"] is False
    assert found["settings"] == {"train.seed": [0, 1]}


def test_states_of_other_steps_are_not_compared(home: Path, tmp_path: Path) -> None:
    short = tmp_path / "short"
    assert main.run([*WORDS, "--epochs", "0.1", "--out", str(short)]) == 0
    found = compare_runs(home / "one", short)
    assert found.lone_steps > 0
    assert found.final == {}
    assert not found.is_none


def test_runs_without_a_checkpoint_are_not_called_equal(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "one", tmp_path / "bare", symlinks=True)
    shutil.rmtree(tmp_path / "bare" / "checkpoints")
    found = compare_runs(tmp_path / "bare", tmp_path / "bare")
    assert found.last_steps == (None, None)
    assert not found.is_none


def test_folder_that_is_no_run_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run folder"):
        compare_runs(home / "one", tmp_path)
