"""R2, R3, R4, R24: the disk fails, or the process dies, at every single file call of a save."""

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from children import run_function, run_loupe
from files import FAULTS, FileLayer, fail_with
from runs import finish, is_bit_equal, stray_files, train_words, write_model
from saves import begin, check_intact, save, save_and_die_at

from steps import log_line
from torchloupe.errors import ResourceError
from torchloupe.hardware.precision import Precision
from torchloupe.run import checkpoint
from torchloupe.run.events import read_events
from torchloupe.run.folder import RunFolder
from torchloupe.run.state import State
from torchloupe.studies.difference import compare_runs

MOST_CALLS = 500
Record = Callable[[str, object], None]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", [3, 2], ids=["next", "again"])
def test_every_file_call_that_fails_leaves_a_whole_checkpoint(
    quick_folder: Path, fault: str, step: int, record_property: Record
) -> None:
    seen = set()
    for at in range(1, MOST_CALLS):
        run = quick_folder / f"run-{at}"
        begin(run)
        with FileLayer(run, at, fail_with(FAULTS[fault])) as layer:
            try:
                save(run, step)
            except ResourceError as error:
                assert error.exit_code == 6
                assert "No space" in error.message or "Input/output error" in error.message
        if not layer.struck:
            break
        seen.add(layer.struck.partition(" ")[0])
        check_intact(run, 2, step)
        with RunFolder(run):
            pass
        assert stray_files(run) == []
        save(run, 4)  # and the next save is as good as any
        assert check_intact(run, 4, 4) == 4
        shutil.rmtree(run)
    record_property("tries", at - 1)
    assert 20 < at < MOST_CALLS - 1
    assert {"fsync", "rename", "replace", "mkdir", "symlink", "open(xb)", "write"} <= seen


@pytest.mark.parametrize("step", [3, 2], ids=["next", "again"])
@pytest.mark.parametrize(
    "stride", [pytest.param(1, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.long)]
)
def test_process_that_dies_at_any_file_call_leaves_a_whole_checkpoint(
    quick_folder: Path, step: int, stride: int, record_property: Record
) -> None:
    steps = []
    for at in range(1, MOST_CALLS, stride):
        run = quick_folder / f"run-{at}"
        begin(run)
        code = run_function(save_and_die_at, run, step, at)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        with RunFolder(run):  # its next owner clears up
            pass
        assert stray_files(run) == []
        steps.append(check_intact(run, 2, step))
    record_property("tries", len(steps))
    assert 20 < at < MOST_CALLS - stride
    assert steps == sorted(steps)
    assert set(steps) == {2, step}


def fail_at(run: Path, at: int, number: int) -> None:
    """Put the failing layer under a whole command."""
    FileLayer(run, at, fail_with(number)).__enter__()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model and the run without faults."""
    folder = tmp_path_factory.mktemp("disk")
    write_model(folder)
    code, said = run_loupe(words(folder / "whole", folder), folder / "whole.txt")
    assert code == 0, said
    return folder


def words(run: Path, home: Path) -> list[str]:
    return train_words(run, home / "model.py", epochs=0.8)


@pytest.mark.parametrize("at", [1, 3, 9, 14, 20, 26, 41, 60])
def test_run_whose_disk_fails_once_ends_in_two_lines_and_goes_on(home: Path, at: int) -> None:
    run = home / f"failed-{at}"
    layer = partial(fail_at, run, at, FAULTS["ENOSPC" if at % 2 else "EIO"])
    code, said = run_loupe(words(run, home), home / f"failed-{at}.txt", before=layer)
    assert "Traceback" not in said
    assert code in (0, 6), said
    if code == 6:
        assert "error: " in said
        assert "hint: " in said
        code, said = finish(run, words(run, home))
        assert code == 0, said
    assert stray_files(run) == []
    found = compare_runs(home / "whole", run)
    assert found.first_loss_step is None
    assert found.first_weights_step is None
    assert all(found.final.values())
    assert len(found.final) == 3
    # An event that could not be written is all that may be lost.
    assert found.lone_steps <= (code == 0)


def test_events_cut_short_are_whole_lines_for_every_reader(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as run:
        for step in range(20):
            run.record(log_line(step, 0.5))
    content = (tmp_path / "events.jsonl").read_bytes()
    for end in range(0, len(content), 7):
        (tmp_path / "events.jsonl").write_bytes(content[:end])
        events = read_events(tmp_path)
        assert [event["step"] for event in events] == list(range(len(events)))
        assert len(events) == content[:end].count(b"}")


def test_events_that_the_disk_refuses_do_not_stop_the_training(tmp_path: Path) -> None:
    heard = []

    class Ear:
        start = close = staticmethod(lambda *_: None)
        record = staticmethod(heard.append)

    with RunFolder(tmp_path, [Ear()]) as run:
        run.record(log_line(1))
        with FileLayer(tmp_path, 2, fail_with(FAULTS["ENOSPC"])):
            run.record(log_line(2))
        run.record(log_line(3))
    for line in (tmp_path / "events.jsonl").read_text().splitlines():
        json.loads(line)
    assert [event["step"] for event in read_events(tmp_path)] == [1, 3]
    assert {"note": "an event was not written to events.jsonl (No space left on device)"} in heard


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 8 MB; skipped where none may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_disk_that_fills_up_keeps_the_last_checkpoint_and_says_the_bytes(small_disk: Path) -> None:
    model = torch.nn.Linear(1000, 500)  # 2 MB, and no Adam state yet
    state = State(
        model, torch.optim.Adam(model.parameters()), Precision("fp32", torch.device("cpu"))
    )
    run = small_disk / "run"
    run.mkdir()
    said = ""
    with RunFolder(run, keep=100) as folder:
        for step in range(1, 10):
            state.step = step
            folder.save(state)
            try:
                folder.finish_saving()
            except ResourceError as error:
                said = error.message
                break
    assert step > 2
    assert "No space left on device; 2 MB are needed, " in said
    assert said.endswith(" are free")
    trees, path, passed_over = checkpoint.read_newest(run / "checkpoints")
    assert trees["state"]["step"] == step - 1
    assert path.name == f"step-{step - 1:08d}"
    assert passed_over == []
    assert stray_files(run) == []


def test_command_on_a_full_disk_exits_with_6_and_goes_on_when_there_is_room(
    small_disk: Path, home: Path
) -> None:
    run, filler = small_disk / "run", small_disk / "filler"
    filler.write_bytes(bytes(8 * 2**20 - 150_000))
    code, said = run_loupe(words(run, home), home / "full.txt")
    assert code == 6
    assert "No space left on device" in said
    filler.unlink()
    code, said = finish(run, words(run, home))
    assert code == 0, said
    assert is_bit_equal(home / "whole", run)
