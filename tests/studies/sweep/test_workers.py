"""Several workers on one sweep: nothing lost, nothing twice, also when they are killed."""

import collections
import json
import random
import signal
import subprocess
import sys
import time

import pytest
from children import Child, run_loupe
from postgresql import serving
from small_sweep import SETTINGS, TRIES, told_of

from torchloupe.errors import ResourceError
from torchloupe.studies.sweep import workers
from torchloupe.studies.sweep.book import Book
from torchloupe.studies.sweep.plan import read_plan
from torchloupe.studies.sweep.workers import explain, run_workers


def words_of(folder, trials, *more):
    """The command of a sweep with the settings of the small one."""
    settings = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    tries = [word for name, value in TRIES.items() for word in ("--try", f"{name}={value}")]
    return [
        *("sweep", "digits", *tries, *settings, "--trials", str(trials), "--out", str(folder)),
        *more,
    ]


def check_trials(folder, count):
    """Each trial has ended once, in its own folder, with settings that no other one has."""
    plan, _ = read_plan(folder)
    trials = Book(plan, folder).trials()
    assert [trial.number for trial in trials] == list(range(count))
    assert all(trial.state in ("complete", "pruned") for trial in trials)
    assert len({str(trial.values) for trial in trials}) == count
    for trial in trials:
        config = json.loads((folder / trial.folder / "config.json").read_text())["settings"]
        assert {name: config[name]["value"] for name in trial.values} == dict(trial.values)
        lines = (folder / trial.folder / "events.jsonl").read_text().splitlines()
        steps = [e["step"] for e in map(json.loads, lines) if "best" in e]
        assert collections.Counter(steps).most_common(1)[0][1] == 1
        assert (folder / trial.folder / "metrics.json").exists() == (trial.state == "complete")


def test_a_second_process_helps_and_goes_on_when_the_first_is_killed(tmp_path):
    folder = tmp_path / "sweep"
    first = Child(words_of(folder, 6), tmp_path / "first")
    while not (folder / "trial-000").exists() and first.is_running:
        time.sleep(0.01)
    second = Child(["resume", str(folder)], tmp_path / "second")
    while not (folder / "trial-003").exists() and first.is_running:
        time.sleep(0.01)
    assert first.kill()
    assert second.end() == 0, (tmp_path / "second").read_text()
    check_trials(folder, 6)
    assert "test accuracy" in (tmp_path / "second").read_text()


@pytest.mark.parametrize("wait", [0, 30])
def test_workers_that_all_end_before_the_sweep_is_done_are_an_error(tmp_path, monkeypatch, wait):
    def start(_folder, number, _count):
        process = subprocess.Popen([sys.executable, "-c", f"exit({3 + number})"])
        if wait:  # it has ended before the first look
            process.wait(wait)
        return process

    from test_sampling import make_plan

    monkeypatch.setattr(workers, "start_worker", start)
    said = []
    with pytest.raises(ResourceError, match="all 2 workers ended before"):
        run_workers(tmp_path, make_plan(), 2, said.append)
    assert sorted(said) == [
        "worker 1 of 2 ended with exit code 3",
        "worker 2 of 2 ended with exit code 4",
    ]
    assert explain(-9) == "signal 9 (SIGKILL)"


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_workers_of_one_command_share_the_trials_and_end_with_it(tmp_path):
    folder = tmp_path / "sweep"
    words = words_of(folder, 8, "--workers", "2")
    process = subprocess.Popen([sys.executable, "-m", "torchloupe", *words])
    while not (folder / "trial-002").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    plan, _ = read_plan(folder)
    before = len(Book(plan, folder).trials())
    time.sleep(2)
    assert len(Book(plan, folder).trials()) == before < 8  # no worker goes on by itself
    assert run_loupe(["resume", str(folder)], tmp_path / "said")[0] == 0
    check_trials(folder, 8)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_thirty_trials_of_two_workers_on_postgresql_killed_five_times(tmp_path):
    chance, kills, folder = random.Random(0), 0, tmp_path / "sweep"
    with serving() as address:
        children = [Child(words_of(folder, 30, "--storage", address), tmp_path / "said-0")]
        while not (folder / "sweep.json").exists():
            time.sleep(0.01)
        children.append(Child(["resume", str(folder)], tmp_path / "said-1"))
        while kills < 5 and not (folder / "results.json").exists():
            time.sleep(chance.uniform(1, 6))
            number = chance.randrange(2)
            kills += children[number].kill()
            children[number] = Child(["resume", str(folder)], tmp_path / f"said-{number}")
        assert [child.end(2000) for child in children] == [0, 0]
        assert kills == 5
        check_trials(folder, 30)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_thirty_trials_of_one_worker_killed_five_times_equal_undisturbed_ones(tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    begun = time.monotonic()
    assert Child(words_of(undisturbed, 30, "--repeat", "3"), tmp_path / "said").end(1500) == 0
    seconds = time.monotonic() - begun
    command, kills, chance = words_of(killed, 30, "--repeat", "3"), 0, random.Random(1)
    while True:
        child = Child(command, tmp_path / "killed-said")
        if child.join(chance.uniform(0.05, 0.3) * seconds if kills < 5 else 1500):
            break
        kills += child.kill()
        if (killed / "sweep.json").exists():
            command = ["resume", str(killed)]
    assert child.end() == 0
    assert kills == 5
    assert told_of(killed) == told_of(undisturbed)
