"""Runs on several hosts under torchrun: equal to one host's, and going on after what hosts suffer.

Hosts are network namespaces of this machine; skipped where they can't be made.
"""

import signal
import time
from pathlib import Path

import pytest
from hosts import connected
from ranks import MODEL, accuracies, losses, run_ranks, train_words

from torchloupe.run.events import read_events
from torchloupe.studies.difference import compare_runs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
BOUND_SECONDS = 90
SETTINGS = ("--set", "hardware.timeout_seconds=15", "--set", "train.report=false", "--resume")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A file with a network that takes its time."""
    path = tmp_path_factory.mktemp("model") / "model.py"
    path.write_text(MODEL)
    return path


@pytest.fixture(scope="module")
def undisturbed(model, tmp_path_factory):
    """The run of two ranks on one host."""
    folder = tmp_path_factory.mktemp("undisturbed")
    codes, said = run_ranks(train_words(folder / "run", model, *SETTINGS), folder)
    assert codes == [0, 0], said
    return folder / "run"


def wait_until(is_so, what, seconds=300):
    """Wait for something to become true; how long it took."""
    begun = time.monotonic()
    while not is_so():
        assert time.monotonic() - begun < seconds, f"{what} after {seconds} s"
        time.sleep(0.05)
    return time.monotonic() - begun


def last_step(run):
    """The last step that was logged."""
    return max((e["step"] for e in read_events(run) if "train_loss" in e), default=0)


def check_finished(processes, place):
    """Every torchrun has ended well."""
    codes = [process.wait(600) for process in processes]
    said = "\n".join(path.read_text() for path in sorted(place.glob("said-*")))
    assert codes == [0] * len(processes), said[-6000:]


@pytest.mark.parametrize("count", [2, 3])
def test_hosts_train_as_one_process_does(model, tmp_path, count):
    run = tmp_path / "run"
    with connected(count) as hosts:
        words = train_words(run, model, *SETTINGS)
        started = [
            host.torchrun(words, tmp_path / f"said-{n}", "--nnodes", str(count))
            for n, host in enumerate(hosts)
        ]
        check_finished(started, tmp_path)
    alone = tmp_path / "alone"
    codes, said = run_ranks(train_words(alone, model, *SETTINGS), tmp_path, size=1)
    assert codes == [0], said
    ours, theirs = losses(run), losses(alone)
    assert len(ours) == 50 == len(theirs)
    assert max(abs(ours[step] - theirs[step]) for step in ours) <= 1e-6
    assert accuracies(run) == accuracies(alone)


def kill(host):
    """The power fails: every process of the host is gone at once."""
    host.send(signal.SIGKILL)


def freeze(host):
    """The host stands still, for good: its connections stay open and nobody answers."""
    host.send(signal.SIGSTOP)


def cut(host):
    """The cable is pulled."""
    host.cut()


@pytest.mark.parametrize("suffer", [kill, freeze, cut])
def test_a_lost_host_restarts_the_other_and_the_run_goes_on_bit_equal(
    model, undisturbed, tmp_path, suffer
):
    run, options = tmp_path / "run", ("--nnodes", "2", "--max-restarts", "3")
    slow = {"seconds": 0.25}
    words = train_words(run, model, *SETTINGS, **slow)
    with connected(2) as hosts:
        first, second = (
            host.torchrun(words, tmp_path / f"said-{n}", *options) for n, host in enumerate(hosts)
        )
        wait_until(lambda: last_step(run) >= 12, "12 steps")
        ranks = set(hosts[0].pids()) - {first.pid}
        suffer(hosts[1])
        took = wait_until(lambda: not ranks <= set(hosts[0].pids()), "the other rank had not ended")
        assert took < BOUND_SECONDS
        assert last_step(run) < 50
        hosts[1].send(signal.SIGKILL)  # what was frozen or cut off is gone before the host returns
        second.wait()
        hosts[1].mend()
        again = hosts[1].torchrun(words, tmp_path / "said-again", *options)
        check_finished([first, again], tmp_path)
    assert any("resumed from step-" in event.get("note", "") for event in read_events(run))
    assert losses(run) == losses(undisturbed)
    assert compare_runs(undisturbed, run).is_none


def test_hosts_without_a_shared_disk_go_on_with_what_rank_0_has(model, undisturbed, tmp_path):
    options = ("--nnodes", "2", "--max-restarts", "3")
    words = train_words(Path("run"), model, *SETTINGS, seconds=0.25)
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        place.mkdir()
    run = places[0] / "run"
    with connected(2) as hosts:
        first, second = (
            host.torchrun(words, tmp_path / f"said-{n}", *options, folder=places[n])
            for n, host in enumerate(hosts)
        )
        wait_until(lambda: last_step(run) >= 12, "12 steps")
        kill(hosts[1])
        second.wait()
        said = tmp_path / "said-again"
        again = hosts[1].torchrun(words, said, *options, folder=places[1])
        check_finished([first, again], tmp_path)
    assert not (places[1] / "run").exists()
    assert losses(run) == losses(undisturbed)
    assert compare_runs(undisturbed, run).is_none


def test_a_run_grows_and_shrinks_with_the_same_batches(model, undisturbed, tmp_path):
    run, options = tmp_path / "run", ("--nnodes", "1:3", "--max-restarts", "5")
    words = train_words(run, model, *SETTINGS, seconds=0.4)
    with connected(3) as hosts:
        started = [hosts[0].torchrun(words, tmp_path / "said-0", *options)]
        wait_until(lambda: last_step(run) >= 6, "6 steps of one host")
        started += [hosts[n].torchrun(words, tmp_path / f"said-{n}", *options) for n in (1, 2)]
        wait_until(lambda: 3 in sizes(run), "three hosts")
        here = last_step(run)
        wait_until(lambda: last_step(run) >= here + 5, "5 steps of three hosts")
        hosts[2].send(signal.SIGKILL)
        check_finished(started[:2], tmp_path)
    ours, theirs = losses(run), losses(undisturbed)
    assert sorted(ours) == sorted(theirs)
    assert max(abs(ours[step] - theirs[step]) for step in ours) <= 1e-6
    assert {1, 3} <= sizes(run)


def sizes(run):
    """How many ranks there were, as the notes on resumes say."""
    notes = " ".join(event.get("note", "") for event in read_events(run))
    return {n for n in (1, 2, 3) if f"ranks {n} is now" in notes or f"is now {n}" in notes}
