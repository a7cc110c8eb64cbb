"""Sweeps begun, stopped, killed and joined; all end as an undisturbed one does."""

import json
import os
import signal
import time

import pytest
from children import Child, run_loupe
from small_sweep import SETTINGS, TRIES, WISH, told_of

import torchloupe as loupe
from torchloupe.errors import Terminated, UsageError
from torchloupe.studies.sweep.start import Wish, resume_sweep, start_sweep


def test_trials_are_runs_and_the_winner_alone_is_tested(whole):
    found, said = whole
    assert len(found.trials) == 6 == len([line for line in said if line.startswith("trial ")])
    tested = [path.parent.name for path in found.folder.glob("*/metrics.json") if has_test(path)]
    assert tested == [found.best.name]
    winner = found.results["winner"]
    metrics = loupe.open_run(found.best).metrics
    assert winner["test"]["accuracy"] == metrics["test"]["accuracy"]
    low, high = winner["test"]["accuracy_ci95"]
    assert low < winner["test"]["accuracy"] < high
    complete = [trial for trial in found.trials if trial.value is not None]
    assert found.results["complete"] == len(complete) > 1
    assert found.results["cut_short"] == 6 - len(complete) > 0
    assert not (found.folder / ".locks").exists()


def has_test(path):
    """Whether a metrics.json has scores of the test split."""
    return "test" in json.loads(path.read_text(encoding="utf-8"))


def test_repeats_have_the_split_of_the_trials_and_other_seeds(whole):
    found, _ = whole
    winner = found.results["winner"]
    assert len(winner["repeats"]["values"]) == 2
    trial = loupe.open_run(found.best)
    for number, name in enumerate(winner["repeats"]["runs"], start=1):
        run = loupe.open_run(found.folder / name)
        assert (run.config.train.seed, run.config.data.split_seed) == (number, 0)
        assert run.config.optimizer == trial.config.optimizer
        both = [r.folder / "environment.json" for r in (run, trial)]
        one, other = (json.loads(path.read_text())["data"] for path in both)
        assert one == other
        checksums = [(r.folder / "best" / "model.safetensors").read_bytes() for r in (run, trial)]
        assert checksums[0] != checksums[1]


def test_a_sweep_stopped_by_a_signal_goes_on_to_the_same_end(whole, tmp_path):
    class StopAt:
        """Sends SIGTERM at a log line of a trial."""

        def start(self, facts):
            self.run = facts["run"]

        def record(self, event):
            if "train_loss" in event and self.run.endswith(f"trial-{stop}"):
                os.kill(os.getpid(), signal.SIGTERM)

        def close(self):
            pass

    folder, stop = tmp_path / "sweep", "000"
    with pytest.raises(Terminated) as caught:
        start_sweep("digits", SETTINGS, None, WISH, folder, tell=str, listeners=lambda: [StopAt()])
    assert caught.value.hint == f"loupe resume {folder} continues with all trials"
    assert not (folder / "trial-001").exists()
    stop = "002"
    with pytest.raises(Terminated):
        resume_sweep(folder, tell=str, listeners=lambda: [StopAt()])
    said = []
    assert told_of(resume_sweep(folder, tell=said.append).folder) == told_of(whole[0].folder)
    assert said[0].startswith("trial 3 of 6 goes on: ")
    assert resume_sweep(folder, tell=said.append).best.name == whole[0].best.name  # nothing is left


@pytest.mark.long
def test_a_sweep_killed_at_any_moment_goes_on_to_the_same_end(whole, tmp_path):
    folder, said = tmp_path / "sweep", tmp_path / "said"
    settings = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    tries = [word for name, value in TRIES.items() for word in ("--try", f"{name}={value}")]
    words = ["sweep", "digits", *tries, *settings, "--trials", "6", "--repeat", "2"]
    command, kills = [*words, "--out", str(folder)], 0
    for entry in (
        "sweep.json",
        "trial-000/contract.json",
        "trial-003/config.json",
        "trial-004/checkpoints",
        "trial-*-seed-1/config.json",
        "trial-*-seed-2/best",
    ):
        child = Child(command, said)
        while not list(folder.glob(entry)) and child.is_running:
            time.sleep(0.002)
        kills += child.kill()
        if (folder / "sweep.json").exists():
            command = ["resume", str(folder)]
    assert kills >= 5
    code, text = run_loupe(command, said)
    assert code == 0, text
    assert told_of(folder) == told_of(whole[0].folder)


def test_what_a_sweep_cannot_do_is_refused_before_a_folder_is_made(tmp_path):
    def begin(wish, typed=SETTINGS, source="digits"):
        with pytest.raises(UsageError) as caught:
            start_sweep(source, typed, None, wish, tmp_path / "sweep")
        assert not (tmp_path / "sweep").exists()
        return f"{caught.value.message}; {caught.value.hint}"

    assert "did you mean 'optimizer.lr'" in begin(Wish({"optimizer.rl": "1e-4..1e-2"}))
    assert "did you mean 'asha'" in begin(Wish(TRIES, prune="asa"))
    assert "--workers" in begin(WISH, {**SETTINGS, "hardware.gpus": "all"})
    assert "one run" in begin(WISH, {**SETTINGS, "data.folds": 3})
    data = loupe.open_data("digits")
    assert "Python object" in begin(Wish(TRIES, workers=2), source=data)
    assert "did you mean" in begin(WISH, {**SETTINGS, "train.monitor": "val_acuracy"})


def test_a_database_that_does_not_answer_leaves_no_folder(tmp_path):
    pytest.importorskip("psycopg")
    wish = Wish(TRIES, storage="postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(loupe.errors.ResourceError, match="does not answer"):
        start_sweep("digits", SETTINGS, None, wish, tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_a_sweep_from_python_with_few_combinations_and_trials_that_all_fail(tmp_path):
    odd = {**SETTINGS, "model.options": {"width": -3}, "model.name": "cnn"}
    tries = {"augment.policy_count": "1..4"}
    with pytest.raises(UsageError, match="all of the first 3 trials failed; the last: "):
        loupe.sweep("digits", tries, settings=odd, out=tmp_path / "sweep")
    with pytest.raises(UsageError) as caught:
        loupe.open_run(tmp_path / "sweep")
    assert "is a sweep, which has a run for each trial" in caught.value.message


def test_minutes_end_the_search(tmp_path):
    begun = time.monotonic()
    found = loupe.sweep(
        "digits",
        TRIES,
        minutes=0.05,
        settings={**SETTINGS, "train.epochs": 0.5},
        out=tmp_path / "sweep",
        prune="none",
    )
    assert found.trials and found.results["winner"]
    assert time.monotonic() - begun < 30
