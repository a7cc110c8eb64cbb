"""R9, R10: SIGTERM and Ctrl-C at every place, to the process and to all its group."""

import json
import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from children import Child, processes_of_group, run_loupe, wait_until
from PIL import Image
from runs import finish, is_bit_equal, stray_files, train_words

from torchloupe.data.contract import Contract
from torchloupe.run import checkpoint, tensor_files
from torchloupe.run.events import read_events

MOST_SECONDS = 25
WHOM = ("process", "group")  # a terminal and many schedulers send it to all of a group
SLOW, LONG = pytest.mark.slow, pytest.mark.long
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}

# A model and a data set that are slow, and say where they are, while a file asks for it.
CODE = """
import time
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import Dataset

def be_slow(what):
    folder = Path({folder!r})
    if (folder / f"slow-{{what}}").exists():
        (folder / f"in-{{what}}").touch()
        time.sleep(0.1)

class Net(nn.Module):
    def __init__(self, in_channels, classes):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3),
            nn.Flatten(), nn.Linear(8 * 64, classes),
        )

    def forward(self, images):
        be_slow("train" if self.training else "evaluate")
        return self.layers(images)

class Digits(Dataset):
    def __init__(self):
        images, self.targets = load_digits(return_X_y=True)
        self.images = torch.tensor(images.reshape(-1, 1, 8, 8) / 16, dtype=torch.float32)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        if row % 50 == 0:
            be_slow("load")
        return self.images[row], int(self.targets[row])

data = Digits()
"""


def slow_saves(folder: Path) -> None:
    """In a child: writing a file of a checkpoint takes a while, and says so."""
    real = tensor_files._write

    def write(path: Path, blobs: Iterator[bytes]) -> tensor_files.Written:
        (folder / "in-save").touch()
        time.sleep(0.3)
        return real(path, blobs)

    tensor_files._write = write


def slow_decoding(folder: Path) -> None:
    """In a child: decoding an image takes a while, and says so."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    real = Contract.decode

    def decode(contract: Contract, image: bytes) -> np.ndarray:
        (folder / "in-decode").touch()
        time.sleep(0.1)
        return real(contract, image)

    Contract.decode = decode


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code, and the runs that nobody stopped: `whole`, and `loaded` through workers."""
    folder = tmp_path_factory.mktemp("signals")
    (folder / "model.py").write_text(CODE.format(folder=str(folder)))
    for name in ("whole", "loaded"):
        code, said = run_loupe(words(folder, folder / name, name), folder / f"{name}.txt")
        assert code == 0, said
    return folder


def words(home: Path, run: Path, kind: str = "whole") -> list[str]:
    """The command; `loaded` reads the data through two worker processes."""
    train, _, *rest = train_words(run, home / "model.py", epochs=1, data__workers=2)
    data = "digits" if kind == "whole" else f"{home}/model.py:data"
    return [train, data, *(word.replace(":net", ":Net") for word in rest)]


def stop(child: Child, number: int, whom: str) -> float:
    """Send a signal and wait for the end: how many seconds that took."""
    start = time.monotonic()
    (os.killpg if whom == "group" else os.kill)(child.pid, number)
    child.end()
    return time.monotonic() - start


def wait_for_the_end_of(group: int, seconds: float = 10) -> list[int]:
    """Processes of a group that are still there after a while."""
    end = time.monotonic() + seconds
    while (left := processes_of_group(group)) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def last_step(run: Path) -> int:
    return int(json.loads((run / "last" / "state.json").read_text())["step"])


CASES = list(product(("train", "save", "evaluate", "load"), ("SIGTERM", "SIGINT"), WHOM))
MARKS = {
    ("train", "SIGTERM", "group"): (),
    ("save", "SIGINT", "group"): LONG,
    ("evaluate", "SIGTERM", "group"): LONG,
    ("load", "SIGINT", "group"): LONG,
}


@pytest.mark.parametrize(
    ("where", "name", "whom"),
    [pytest.param(*case, marks=MARKS.get(case, SLOW)) for case in CASES],
)
def test_signal_stops_a_run_with_the_checkpoint_of_its_last_step(
    home: Path, where: str, name: str, whom: str
) -> None:
    run, kind = home / f"{where}-{name}-{whom}", "loaded" if where == "load" else "whole"
    number = signal.Signals[name]
    said, slow, inside = (
        home / name for name in (run.name + ".txt", "slow-" + where, "in-" + where)
    )
    slow.touch()
    try:
        child = Child(
            words(home, run, kind), said, partial(slow_saves, home) if where == "save" else None
        )
        assert wait_until((run / "config.json").exists, child)
        inside.unlink(missing_ok=True)
        assert wait_until(inside.exists, child)
        seconds = stop(child, number, whom)
    finally:
        slow.unlink()
    text = said.read_text()
    assert child.end() == CODES[number], text
    assert seconds < MOST_SECONDS
    assert "Traceback" not in text
    assert [line.partition(": ")[0] for line in text.splitlines()[-2:]] == ["error", "hint"]
    assert text.count("error: ") == 1
    assert wait_for_the_end_of(child.pid) == []
    assert stray_files(run) == []
    steps = [event["step"] for event in read_events(run) if "train_loss" in event]
    assert last_step(run) == max(steps, default=0)
    code, output = finish(run, words(home, run, kind))
    assert code == 0, output
    assert is_bit_equal(home / kind, run)


@pytest.mark.parametrize("number", CODES, ids=["SIGTERM", "SIGINT"])
def test_signal_while_decoding_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    chance = np.random.default_rng(0)
    for row in range(60):
        path = tmp_path / "photos" / "ab"[row % 2] / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (9, 9, 3), np.uint8)).save(path)
    said, out = tmp_path / "said.txt", tmp_path / "run"
    train = ["train", str(tmp_path / "photos"), "--out", str(out), "--quiet", "--epochs", "1"]
    child = Child(train, said, partial(slow_decoding, tmp_path))
    packs = tmp_path / "cache" / "torchloupe" / "packs"
    assert wait_until(lambda: packs.is_dir() and any(packs.glob(".*building*")), child)
    seconds = stop(child, number, "process")
    assert child.end() == CODES[number], said.read_text()
    assert seconds < MOST_SECONDS
    assert "Traceback" not in said.read_text()
    assert wait_for_the_end_of(child.pid) == []
    assert not out.exists()
    # What is decoded already stays for the next build to go on from; nothing passes for a pack.
    assert all(path.suffix == ".lock" or ".building-" in path.name for path in packs.iterdir())
    code, text = run_loupe(train, said)
    assert code == 0, text


@LONG
def test_second_ctrl_c_stops_at_once_and_the_checkpoint_before_is_whole(home: Path) -> None:
    run, slow, inside = home / "twice", home / "slow-train", home / "in-train"
    slow.touch()
    try:
        child = Child(words(home, run), home / "twice.txt")
        assert wait_until((run / "last").exists, child)
        inside.unlink(missing_ok=True)
        assert wait_until(inside.exists, child)
        before = last_step(run)
        os.kill(child.pid, signal.SIGINT)
        time.sleep(0.02)
        seconds = stop(child, signal.SIGINT, "process")
    finally:
        slow.unlink()
    text = (home / "twice.txt").read_text()
    assert child.end() == 130, text
    assert seconds < 30  # a run that went on would take minutes
    assert "Traceback" not in text
    assert wait_for_the_end_of(child.pid) == []
    trees, _, passed_over = checkpoint.read_newest(run / "checkpoints")
    assert before <= trees["state"]["step"] <= before + 1
    assert passed_over == []
    code, text = finish(run, words(home, run))
    assert code == 0, text
    assert is_bit_equal(home / "whole", run)


@LONG
def test_second_sigterm_does_not_break_the_save(home: Path) -> None:
    run = home / "again"
    (home / "in-save").unlink(missing_ok=True)
    child = Child(words(home, run), home / "again.txt", partial(slow_saves, home))
    assert wait_until((home / "in-save").exists, child)
    for _ in range(3):
        os.kill(child.pid, signal.SIGTERM)
        time.sleep(0.1)
    assert child.end() == 143, (home / "again.txt").read_text()
    steps = [event["step"] for event in read_events(run) if "train_loss" in event]
    assert last_step(run) == max(steps)
    assert stray_files(run) == []
    code, text = finish(run, words(home, run))
    assert code == 0, text
    assert is_bit_equal(home / "whole", run)
