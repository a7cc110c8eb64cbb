"""R16, R17, R19, R21, S14: odd folders, small limits, small data, planted links."""

import ctypes
import os
import resource
import stat
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from children import run_loupe
from PIL import Image
from runs import finish, is_bit_equal, stray_files, train_words, write_model

from torchloupe.errors import ResourceError
from torchloupe.run import checkpoint
from torchloupe.run.folder import RunFolder

DATASET = """
import torch
from torch.utils.data import TensorDataset

torch.manual_seed(0)
labels = torch.arange(200) % 4
data = TensorDataset(torch.randn(200, 1, 8, 8) + labels[:, None, None, None], labels)
data.targets = labels.tolist()
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, a data set, some photos, and the run in a plain folder."""
    folder = tmp_path_factory.mktemp("places")
    write_model(folder)
    (folder / "data.py").write_text(DATASET)
    write_photos(folder / "photos", 60)
    code, said = run_loupe(words(folder, folder / "whole"), folder / "whole.txt")
    assert code == 0, said
    return folder


def write_photos(folder: Path, count: int) -> Path:
    chance = np.random.default_rng(0)
    for row in range(count):
        path = folder / "ab"[row % 2] / f"{row:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    return folder


def words(
    home: Path, run: Path, data: str = "digits", epochs: float = 0.8, **settings: object
) -> list[str]:
    """The command that trains."""
    train, _, *rest = train_words(run, home / "model.py", epochs, **settings)
    return [train, data, *rest]


# --- R16: little data


@pytest.mark.parametrize(
    ("count", "batch"), [(13, 4), (12, 1), (6, 64)], ids=["last of one", "all of one", "one batch"]
)
def test_batches_of_one_image_and_data_smaller_than_a_batch_train(
    home: Path, tmp_path: Path, count: int, batch: int
) -> None:
    photos = str(write_photos(tmp_path / "photos", count))
    settings = {"train__batch_total": batch, "augment__mixup": 0, "train__micro_batches": 1}
    train = words(home, tmp_path / "run", photos, **settings)
    code, said = run_loupe(train, tmp_path / "said.txt", partial(use_cache, tmp_path))
    assert code == 0, said
    trees, _, _ = checkpoint.read_newest(tmp_path / "run" / "checkpoints")
    assert all(bool(value.isfinite().all()) for value in trees["model"].values())


def use_cache(folder: Path) -> None:
    """In a child: packs go to a folder of the test."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")


# --- R17: little to work with


def few_descriptors(folder: Path) -> None:
    use_cache(folder)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def little_shared_memory(folder: Path) -> None:
    """In a child with a file system of its own at /dev/shm, of 1 MB."""
    use_cache(folder)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x00020000) or libc.mount(b"none", b"/", None, 1 << 18 | 1 << 14, None):
        os._exit(77)
    if libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, b"size=1m"):
        os._exit(77)


@pytest.mark.parametrize("data", ["digits", "photos", "data.py:data"])
@pytest.mark.parametrize("limit", [few_descriptors, little_shared_memory])
def test_run_needs_neither_many_descriptors_nor_shared_memory(
    home: Path, tmp_path: Path, data: str, limit: Callable[[Path], None]
) -> None:
    source = data if data == "digits" else f"{home}/{data}"
    train = words(home, tmp_path / "run", source, data__workers=2, train__batch_total=64)
    code, said = run_loupe(train, tmp_path / "said.txt", partial(limit, tmp_path))
    if code == 77:
        pytest.skip("no file system may be mounted here")
    assert code == 0, said
    assert "bus error" not in said.lower()


# --- R19: a dead owner


def test_run_folder_of_a_process_that_was_killed_is_taken_over(tmp_path: Path) -> None:
    owner = subprocess.Popen(["sleep", "60"])
    (tmp_path / ".lock").write_text(str(owner.pid))  # a name is no lock
    with RunFolder(tmp_path), pytest.raises(ResourceError, match="another process"):  # noqa: SIM117
        with RunFolder(tmp_path):
            pass
    owner.kill()
    owner.wait()
    assert list(tmp_path.iterdir()) == []


# --- R21: odd places


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("läufe-猫 'und\"; echo $HOME 🙂", id="unicode and quotes"),
        pytest.param("run with spaces", id="spaces", marks=pytest.mark.long),
        pytest.param("-leading", id="dash", marks=pytest.mark.long),
        pytest.param("x" * 250, id="250 characters", marks=pytest.mark.long),
        pytest.param("é" * 125, id="250 bytes", marks=pytest.mark.long),
    ],
)
def test_run_in_an_odd_folder_is_trained_stopped_resumed_and_read(
    home: Path, tmp_path: Path, name: str
) -> None:
    run = tmp_path / name
    code, said = run_loupe(words(home, run, epochs=0.4), tmp_path / "said.txt")
    assert code == 0, said
    resume = ["resume", str(run), "--trust-code", "--quiet", "--epochs", "0.8"]
    code, said = run_loupe(resume, tmp_path / "said.txt")
    assert code == 0, said
    code, said = run_loupe(["eval", str(run), "--trust-code", "--json"], tmp_path / "said.txt")
    assert code == 0, said
    assert stray_files(run) == []
    assert (run / "best").resolve().parent == run / "checkpoints"


def no_home(value: str | None) -> None:
    """In a child: HOME is nothing, or nothing that can be written."""
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "USER", "LOGNAME", "TMPDIR"):
        os.environ.pop(name, None)
    if value is not None:
        os.environ["HOME"] = value


@pytest.mark.parametrize(
    ("value", "pack"),
    [("/proc/none", "auto"), ("/dev/null", "auto"), ("", "auto"), (None, "memory")],
)
def test_run_without_a_home_trains(
    home: Path, tmp_path: Path, value: str | None, pack: str
) -> None:
    train = words(home, tmp_path / "run", str(home / "photos"), data__pack=pack)
    code, said = run_loupe(train, tmp_path / "said.txt", partial(no_home, value))
    assert code == 0, said


def jumping_clock() -> None:
    """In a child: the time of day jumps by hours, to and fro."""
    real, jumps = time.time, [0.0, 7200.0, -86400.0, 3.0e8, -7200.0]

    def jump() -> float:
        jumps.append(jumps.pop(0))
        return real() + jumps[-1]

    time.time = jump


def test_clock_that_jumps_changes_nothing(home: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    code, said = run_loupe(words(home, run), tmp_path / "said.txt", jumping_clock)
    assert code == 0, said
    assert is_bit_equal(home / "whole", run)
    assert "-" not in (run / "metrics.json").read_text().partition('"seconds": ')[2][:4]


def read_only(place: Path) -> int:
    """Mount a file system that can't be written; 0 where that is allowed."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,ro", "tmpfs", str(place)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_read_only_folder_is_refused_before_training(home: Path, tmp_path: Path) -> None:
    place = tmp_path / "disk"
    if read_only(place):
        pytest.skip("no file system may be mounted here")
    try:
        start = time.monotonic()
        code, said = run_loupe(words(home, place / "run"), tmp_path / "said.txt")
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
    assert code == 6
    assert "Read-only file system" in said
    assert "hint: give an --out that can be written" in said
    assert time.monotonic() - start < 30


def test_run_on_a_disk_that_became_read_only_is_read_and_not_resumed(
    home: Path, tmp_path: Path
) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    bind = ["mount", "--bind", str(home / "whole"), str(place)]
    if subprocess.run(bind, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
        code, said = run_loupe(["eval", str(place), "--trust-code"], tmp_path / "said.txt")
        assert code == 0, said
        code, said = finish(place, [])
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
    assert code == 6, said
    assert "Read-only file system" in said


# --- S14: links and modes


def test_links_planted_in_a_run_are_not_followed(home: Path, tmp_path: Path) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("keep me")
    code, said = run_loupe(words(home, run, epochs=0.4), tmp_path / "said.txt")
    assert code == 0, said
    (run / "events.jsonl").rename(tmp_path / "events.jsonl")
    for name in (
        *(".lock", ".config.json.writing", ".events.jsonl.writing", ".last.writing"),
        *(".best.writing", ".metrics.json.writing", ".predictions.parquet.writing"),
        "metrics.json",
    ):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(outside / "precious")
    (run / "events.jsonl").symlink_to(tmp_path / "events.jsonl")
    for step in range(1, 9):
        for name in (f".step-{step:08d}.writing", f".step-{step:08d}.removed"):
            (run / "checkpoints" / name).symlink_to(outside)
        with_none = run / "checkpoints" / f"step-{step:08d}"
        if not with_none.exists():
            with_none.symlink_to(outside)
    logged = (tmp_path / "events.jsonl").read_bytes()
    code, said = run_loupe(
        ["resume", str(run), "--trust-code", "--quiet", "--epochs", "0.8"], tmp_path / "said.txt"
    )
    assert code == 0, said
    assert [path.name for path in outside.iterdir()] == ["precious"]
    assert (outside / "precious").read_text() == "keep me"
    assert (tmp_path / "events.jsonl").read_bytes() == logged
    assert stray_files(run) == []
    assert {path.name for path in run.iterdir() if path.is_symlink()} == {"best", "last"}


@pytest.mark.parametrize(("umask", "file", "folder"), [(0o027, 0o640, 0o750), (0, 0o666, 0o777)])
def test_modes_follow_the_umask(
    home: Path, tmp_path: Path, umask: int, file: int, folder: int
) -> None:
    run = tmp_path / "run"
    code, said = run_loupe(words(home, run), tmp_path / "said.txt", partial(os.umask, umask))
    assert code == 0, said
    for path in run.rglob("*"):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (folder if path.is_dir() else file), path
