"""Trackers against the real packages: what was sent can be read back."""

import sys
from pathlib import Path

import pytest

from torchloupe.display.trackers import make_trackers, numbers_of
from torchloupe.errors import UsageError

FACTS = {
    "run": "runs/digits-001",
    "data": "<script>alert(1)</script>\n# heading \x1b[31m",
    "train_count": 8,
    "class_count": 2,
}
EVENTS = [
    {"note": "a remark"},
    {"phase": "pack", "done": 1, "total": 2},
    {"step": 2, "epoch": 0.5, "seconds": 0.1, "train_loss": 1.5, "grad_norm": float("nan")},
    {"step": 4, "epoch": 1.0, "seconds": 0.2, "val_loss": 0.5, "val_accuracy": 0.75, "best": True},
]


def track(name: str, folder: Path) -> None:
    (tracker,) = make_trackers([name], folder)
    tracker.start(FACTS)
    for event in EVENTS:
        tracker.record(event)
    tracker.close()


def test_numbers_of_leaves_out_what_is_no_measurement() -> None:
    assert [dict(numbers_of(event)) for event in EVENTS] == [
        {},
        {},
        {"epoch": 0.5, "train_loss": 1.5},
        {"epoch": 1.0, "val_loss": 0.5, "val_accuracy": 0.75},
    ]


def test_numbers_of_names_signals_by_statistic_and_layer() -> None:
    signals = {"conv1": {"mean": 0.5, "std": None}, "a:b\x1b\n": {"mean": 1.0}}
    found = dict(numbers_of({"step": 1, "signals": signals}))
    assert found == {"mean/conv1": 0.5, "mean/a_b__": 1.0}


def test_tensorboard_holds_the_numbers_at_their_steps(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    track("tensorboard", tmp_path)
    log = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(log.Tags()["scalars"]) == ["epoch", "train_loss", "val_accuracy", "val_loss"]
    assert [(e.step, e.value) for e in log.Scalars("val_accuracy")] == [(4, 0.75)]
    (text,) = log.Tensors("run/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    assert "    data: <script>alert(1)</script>\\n# heading \\x1b[31m" in shown.splitlines()


def test_tensorboard_replaces_the_events_a_resumed_run_does_again(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    track("tensorboard", tmp_path)
    (tracker,) = make_trackers(["tensorboard"], tmp_path)
    tracker.start({**FACTS, "start_step": 2})
    tracker.record({"step": 4, "seconds": 0.2, "val_accuracy": 0.5})
    tracker.close()
    log = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in log.Scalars("val_accuracy")] == [(4, 0.5)]
    assert [e.step for e in log.Scalars("train_loss")] == [2]


@pytest.mark.filterwarnings("default")  # MLflow's own libraries warn
def test_mlflow_holds_the_numbers_below_the_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="the track extra is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    track("mlflow", run)
    client = mlflow.MlflowClient(f"sqlite:///{run / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("torchloupe")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.data.metrics == {
        "epoch": 1,
        "train_loss": 1.5,
        "val_loss": 0.5,
        "val_accuracy": 0.75,
    }
    assert found.data.params["data"] == "<script>alert(1)</script>\\n# heading \\x1b[31m"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.filterwarnings("default")
def test_wandb_writes_below_the_run_folder_when_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="the track extra is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    track("wandb", run)
    assert list(run.glob("wandb/offline-run-*/run-*.wandb"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("name", "module"),
    [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow"), ("wandb", "wandb")],
)
def test_make_trackers_names_the_extra_when_the_package_is_missing(
    name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError) as caught:
        make_trackers([name], tmp_path)
    assert caught.value.message == (
        f"tracking with {name} needs a package that is not here "
        f"(import of {module} halted; None in sys.modules)"
    )
    assert caught.value.hint == (
        "pip install 'torchloupe[track]', or leave it out of --set track=..."
    )


def test_make_trackers_refuses_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        make_trackers(["tensorbord"], tmp_path)
    assert caught.value.message == "there is no tracker tensorbord"
    assert caught.value.hint == "did you mean 'tensorboard'?"


def test_tracker_is_refused_before_training_when_it_cannot_write(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("a file where the folder should be")
    (tracker,) = make_trackers(["tensorboard"], tmp_path)
    with pytest.raises(UsageError, match="TensorBoard can't track this run"):
        tracker.start(FACTS)


def test_tracker_is_dropped_with_a_warning_when_it_fails_in_training(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tracker,) = make_trackers(["tensorboard"], tmp_path)
    tracker.start(FACTS)
    with pytest.warns(RuntimeWarning, match=r"TensorBoard stopped tracking: .*events\.jsonl has"):
        tracker.record({"step": "four", "seconds": 0.2, "train_loss": 1.0})
    tracker.record({"step": 5, "seconds": 0.3, "train_loss": 1.0})
    tracker.close()
    assert tracker.failed
