"""R1, R2: a run is killed at random instants, and ends as if it had not been."""

import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from children import Child, run_loupe, wait_until
from runs import finish, is_bit_equal, resume_words, stray_files, train_words, write_model

KILLS_PER_RUN = 4
Record = Callable[[str, object], None]


@dataclass
class Tally:
    """What became of the runs that were killed."""

    kills: int = 0
    runs: int = 0
    resumed: int = 0
    bit_equal: int = 0
    stray: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model, the run that nobody killed in `whole`, and the time that it took."""
    folder = tmp_path_factory.mktemp("kills")
    write_model(folder)
    code, said = run_loupe(["--version"], folder / "whole.txt")  # the fork server has started
    assert code == 0, said
    start = time.perf_counter()
    code, said = run_loupe(train_words(folder / "whole", folder / "model.py"), folder / "whole.txt")
    assert code == 0, said
    (folder / "seconds").write_text(str(time.perf_counter() - start))
    return folder


def stamp(run: Path) -> int:
    """Changes when a process begins to work on a run."""
    path = run / "config.json"
    return path.stat().st_mtime_ns if path.exists() else 0


def kill_runs(home: Path, kills: int, seed: int = 0) -> Tally:
    """SIGKILL runs at random instants until `kills` were sent; each up to four times."""
    chance, tally = random.Random(seed), Tally()
    seconds = float((home / "seconds").read_text())
    while tally.kills < kills:
        run = home / f"killed-{seed}-{tally.runs:03d}"
        words = train_words(run, home / "model.py")
        tally.runs += 1
        for _ in range(min(KILLS_PER_RUN, kills - tally.kills)):
            before = stamp(run)
            child = Child(resume_words(run) if before else words, run.with_suffix(".txt"))
            is_anywhere = chance.random() < 0.2  # else: once it works on the run
            if not is_anywhere:
                wait_until(lambda run=run, before=before: stamp(run) != before, child)
            time.sleep(chance.uniform(0, seconds * (0.9 if is_anywhere else 0.6)))
            if not child.kill():
                break  # it was done before it could be killed
            tally.kills += 1
        code, said = finish(run, words)
        if code:
            tally.problems.append(f"{run.name}: {code}: {said}")
            continue
        tally.resumed += 1
        tally.bit_equal += is_bit_equal(home / "whole", run)
        tally.stray += [f"{run.name}/{name}" for name in stray_files(run)]
    return tally


def check_tally(tally: Tally) -> None:
    assert not tally.problems
    assert not tally.stray
    assert tally.resumed == tally.bit_equal == tally.runs > 0


@pytest.mark.long
def test_killed_runs_end_bit_equal(home: Path, record_property: Record) -> None:
    tally = kill_runs(home, kills=4)
    record_property("tries", tally.kills)
    check_tally(tally)
    assert tally.kills == 4


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_kills_end_bit_equal(home: Path, record_property: Record) -> None:
    tally = kill_runs(home, kills=200, seed=1)
    record_property("tries", tally.kills)
    check_tally(tally)
    assert tally.kills == 200


def test_killed_run_with_saves_by_time_leaves_no_stray_file(home: Path) -> None:
    """Then the step of the half-written checkpoint is not saved again by itself."""
    run = home / "by-time"
    shutil.copytree(home / "whole", run, symlinks=True)
    stray = run / "checkpoints" / ".step-00000003.writing"
    stray.mkdir()
    (stray / "model.safetensors").write_bytes(b"half")
    (run / ".metrics.json.writing").write_bytes(b"half")
    foreign = run / "checkpoints" / ".mine"
    foreign.mkdir()
    code, said = run_loupe([*resume_words(run), "--epochs", "5"], home / "by-time.txt")
    assert code == 0, said
    assert stray_files(run) == ["checkpoints/.mine"]


def test_sigkill_is_what_ended_the_child(home: Path) -> None:
    child = Child(train_words(home / "sure", home / "model.py", epochs=500), home / "sure.txt")
    assert wait_until(lambda: stamp(home / "sure") != 0, child)
    assert child.kill()
    assert child.end() == -signal.SIGKILL
