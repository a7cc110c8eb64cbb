"""The run folder: one owner, whole lines, and stops that lose nothing."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from steps import log_line
from torchloupe.errors import Interrupted, ResourceError, Terminated
from torchloupe.hardware.precision import Precision
from torchloupe.run import folder as runs
from torchloupe.run.checkpoint import read_newest
from torchloupe.run.events import Progress
from torchloupe.run.state import State


class Ear:
    """A listener that remembers what it heard."""

    def __init__(self):
        self.heard = []

    def start(self, facts):
        self.heard.append(facts)

    def record(self, event):
        self.heard.append(event)

    def close(self):
        pass


def make_state(step=1):
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    return State(model, optimizer, Precision("fp32", torch.device("cpu")), step=step)


def test_second_process_on_a_run_is_refused_and_a_dead_owner_is_not_waited_for(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from torchloupe.run.folder import RunFolder\n"
        f"with RunFolder(Path({str(tmp_path)!r})):\n"
        "    print('locked', flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert owner.stdout.readline() == b"locked\n"
        with (
            pytest.raises(ResourceError, match="another process is working on"),
            runs.RunFolder(tmp_path),
        ):
            pass
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()
    with runs.RunFolder(tmp_path) as run:
        run.note("mine now")
    assert [event["note"] for event in runs.read_events(tmp_path)] == ["mine now"]
    assert not (tmp_path / ".lock").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ResourceError, match="can't"):
        runs.create_run(tmp_path / "out", "x")


def test_events_are_whole_lines_and_reach_the_listeners(tmp_path):
    ear = Ear()
    with runs.RunFolder(tmp_path, [ear]) as run:
        run.record(log_line(1, float("nan")))
        run.record(log_line(2, 0.5))
        run.record(Progress("pack", 1, 2))  # is passed on, and not kept
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 1, "scale": None, "overflow": True},
        {"step": 2, "scale": 0.5, "overflow": True},
    ]
    assert ear.heard[1] == {"step": 2, "scale": 0.5, "overflow": True}
    assert ear.heard[2:] == [{"phase": "pack", "done": 1, "total": 2}]


def test_events_cut_short_or_to_be_done_again_are_forgotten(tmp_path):
    (tmp_path / "events.jsonl").write_text(
        '{"step": 1}\n{"note": "x"}\n{"step": 9}\n{"step": 2, "tr'
    )
    with runs.RunFolder(tmp_path) as run:
        run.forget_events_after(5)
        run.record(log_line(2))
    assert runs.read_events(tmp_path) == [{"step": 1}, {"note": "x"}, dict(log_line(2))]


def test_save_keeps_the_newest_and_the_best(tmp_path):
    with runs.RunFolder(tmp_path, keep=2) as run:
        state = make_state()
        for step in range(1, 6):
            state.step = step
            if step == 2:
                state.best_step, state.best_value = 2, 0.9
            run.save(state)
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000002", "step-00000004", "step-00000005"]
    assert (tmp_path / "best").resolve().name == "step-00000002"
    assert (tmp_path / "last").resolve().name == "step-00000005"


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [(signal.SIGINT, Interrupted, 130), (signal.SIGTERM, Terminated, 143)],
)
def test_first_signal_asks_for_a_stop(tmp_path, number, kind, code):
    before = signal.getsignal(number)
    with runs.RunFolder(tmp_path) as run, run.stopping_on_signals():
        assert not run.stop_requested()
        os.kill(os.getpid(), number)
        assert run.stop_requested()
        error = run.stop_error(7)
    assert isinstance(error, kind)
    assert error.exit_code == code
    assert "after step 7" in error.message
    assert signal.getsignal(number) is before


def test_sigusr1_asks_for_a_checkpoint(tmp_path):
    with runs.RunFolder(tmp_path) as run, run.stopping_on_signals():
        assert not run.save_wanted()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert run.save_wanted()
        assert not run.stop_requested()
        run.save(make_state())
        assert not run.save_wanted()


def test_thread_of_a_checkpoint_ends_with_it(tmp_path):
    with runs.RunFolder(tmp_path) as run:
        for step in (1, 2):
            run.save(make_state(step))
            run.finish_saving()
            time.sleep(0.2)
            assert not any("checkpoint" in thread.name for thread in threading.enumerate())
        run.save(make_state(3))
    assert read_newest(tmp_path / "checkpoints")[1].name == "step-00000003"


def test_save_wanted_by_time(tmp_path):
    with runs.RunFolder(tmp_path, save_every_seconds=0.05) as run:
        assert not run.save_wanted()
        time.sleep(0.06)
        assert run.save_wanted()


def test_save_is_a_snapshot_that_later_steps_do_not_change(tmp_path):
    state = make_state()
    before = state.model.weight.detach().clone()
    with runs.RunFolder(tmp_path) as run:
        run.save(state)
        with torch.no_grad():
            state.model.weight.zero_()
    assert torch.equal(read_newest(tmp_path / "checkpoints")[0]["model"]["weight"], before)


def test_save_that_failed_is_told_at_the_next_one(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with runs.RunFolder(tmp_path) as run:
        run.save(make_state())
        with pytest.raises(ResourceError, match="can't write"):
            run.finish_saving()


def test_second_ctrl_c_is_at_once(tmp_path):
    with runs.RunFolder(tmp_path) as run, run.stopping_on_signals():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_signals_are_left_alone_outside_the_main_thread(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work():
        with runs.RunFolder(tmp_path) as run, run.stopping_on_signals():
            seen.append(signal.getsignal(signal.SIGTERM) is before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]
