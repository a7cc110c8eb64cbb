"""What two runs have in common, and the command that kills and resumes runs to prove it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from children import warm_starts

from torchloupe.cli import main
from torchloupe.cli.verify import words_of
from torchloupe.errors import UsageError
from torchloupe.studies import resume_proof
from torchloupe.system.user_code import PYTHON_OBJECT
from torchloupe.train.start import train

SETTINGS = {
    "model.name": "cnn",
    "train.epochs": 1,
    "train.batch_total": 256,
    "train.log_every_steps": 1,
    "train.save_every_epochs": 0.5,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run over the digits."""
    out = tmp_path_factory.mktemp("proof") / "run"
    train("digits", SETTINGS, out=out)
    return out


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    shutil.copytree(run, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def change_event(path: Path, at: int, **values: object) -> None:
    """Give the logged step other values."""
    log = path / "events.jsonl"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    for event in events:
        if event.get("step") == at and "train_loss" in event:
            event.update(values)
    log.write_text("".join(json.dumps(event) + "\n" for event in events))


def test_a_run_is_equal_to_its_copy(run, copy):
    difference = resume_proof.compare_runs(run, copy)
    assert difference.is_none
    assert difference.compared_steps == 6
    assert difference.final == {"model": True, "optimizer": True}
    assert difference.settings == {}


def test_the_first_step_where_losses_or_weights_part_is_found(run, copy):
    change_event(copy, 5, train_loss=1.0)
    change_event(copy, 3, weights="0" * 16)
    difference = resume_proof.compare_runs(run, copy)
    assert (difference.first_loss_step, difference.first_weights_step) == (5, 3)
    assert not difference.is_none


def test_runs_of_which_one_is_longer_are_not_equal(run, copy):
    change_event(copy, 6, step=7)
    difference = resume_proof.compare_runs(run, copy)
    assert difference.lone_steps == 2
    assert not difference.is_none


def test_runs_without_anything_to_compare_are_not_equal(run, copy):
    (copy / "events.jsonl").unlink()
    shutil.rmtree(copy / "checkpoints")
    difference = resume_proof.compare_runs(copy, copy)
    assert (difference.compared_steps, difference.last_steps) == (0, (None, None))
    assert not difference.is_none


def test_another_seed_parts_at_the_first_step(run, tmp_path):
    train("digits", {**SETTINGS, "train.seed": 1}, out=tmp_path / "other")
    difference = resume_proof.compare_runs(run, tmp_path / "other")
    assert difference.settings == {"train.seed": (0, 1)}
    assert difference.first_loss_step == difference.first_weights_step == 1
    assert not any(difference.final.values())


def test_diff_prints_what_differs(run, copy, capsys):
    change_event(copy, 4, train_loss=1.0)
    assert main.run(["diff", str(run), str(copy)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "settings      0 differ",
        "compared      6 logged steps; 0 are in one run only",
        "losses        part at step 4",
        "weights       the same",
        "last state    model equal, optimizer equal",
        "bit-equal     no",
    ]
    assert main.run(["diff", str(run), str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["equal"] is True


def test_diff_refuses_what_is_no_run(run, tmp_path, capsys):
    assert main.run(["diff", str(run), str(tmp_path)]) == UsageError.exit_code
    assert "is not a run folder" in capsys.readouterr().err


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs that are killed needn't load torch anew; slow tests start interpreters."""
    monkeypatch.setattr(resume_proof, "subprocess", warm_starts())


@pytest.mark.usefixtures("warm")
def test_verify_resume_fails_with_the_words_of_the_run_that_failed(tmp_path):
    with pytest.raises(UsageError) as caught:
        resume_proof.verify_resume([str(tmp_path / "nowhere")], tmp_path / "runs", kills=1)
    assert "nowhere" in caught.value.message


@pytest.mark.usefixtures("warm")
def test_verify_resume_kills_resumes_and_compares(tmp_path, capsys):
    check_verify_resume(tmp_path, capsys, "1")


@pytest.mark.slow
def test_verify_resume_kills_interpreters(tmp_path, capsys):
    check_verify_resume(tmp_path, capsys, "2")


def check_verify_resume(tmp_path, capsys, kills):
    """Kill so many times, in as many epochs; the imports of a run are part of its time."""
    words = ["verify-resume", "digits", "--model", "cnn", "--epochs", kills, "--kills", kills]
    code = main.run([*words, "--set", "train.save_every_epochs=0.1", "--out", str(tmp_path / "v")])
    seen = capsys.readouterr()
    assert (code, seen.err.splitlines()[-1]) == (0, f"{kills} of {kills} kills: bit-equal")
    assert seen.out.splitlines()[0] == f"kills         {kills}"
    assert not [path for path in (tmp_path / "v").rglob(".*") if path.is_file()]


@pytest.mark.slow
def test_verify_resume_tells_of_a_run_that_is_not_exact(tmp_path, capsys):
    """A model that draws from the clock can't be resumed bit for bit."""
    (tmp_path / "drunk.py").write_text(
        "import time\n"
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, in_channels, classes):\n"
        "        super().__init__()\n"
        "        self.line = nn.Linear(64, classes)\n"
        "    def forward(self, x):\n"
        "        return self.line(x.flatten(1)) + time.time() % 1\n"
    )
    words = ["verify-resume", "digits", "--model", f"{tmp_path}/drunk.py:Net", "--kills", "1"]
    assert main.run([*words, "--epochs", "1", "--quiet"]) == 1
    assert "a resumed run differs from the uninterrupted run" in capsys.readouterr().err


def test_verify_resume_of_a_run_takes_its_data_and_settings(run, tmp_path):
    assert words_of("digits") == ["digits"]
    assert words_of(str(run)) == ["digits", "--recipe", str(run / "config.json")]
    (tmp_path / "own").mkdir()
    own = (run / "config.json").read_text().replace('"digits"', f'"{PYTHON_OBJECT}"')
    (tmp_path / "own" / "config.json").write_text(own)
    with pytest.raises(UsageError, match="were a Python object"):
        words_of(str(tmp_path / "own"))


def test_verify_resume_takes_a_new_folder_only(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert main.run(["verify-resume", "digits", "--out", str(tmp_path)]) == 2
    assert "is not a new folder" in capsys.readouterr().err


def test_help_of_the_proofs_loads_no_torch():
    code = (
        "import sys; from torchloupe.cli.main import run; run(['verify-resume', '--help'])\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
