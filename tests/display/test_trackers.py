"""Trackers against the real packages: what was sent can be read back."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import torchloupe as loupe
from torchloupe.display.trackers import make_trackers
from torchloupe.errors import Interrupted, UsageError
from torchloupe.run.json_files import write_json

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


RESULTS = {
    "results": {
        "test": {"accuracy": 0.75, "accuracy_ci95": [0.5, 0.875], "per_class": {}, "count": 8},
        "train": {"steps": 4, "seconds": 2.0},
    },
    "images": {
        "confusion": np.zeros((8, 9, 3), np.uint8),
        "mistakes": np.full((8, 9, 3), 200, np.uint8),
    },
}
GIT: dict[str, Any] = {"commit": "0123456789abcdef", "changed": True}


def make_folder(folder: Path) -> Path:
    """A run folder with what trackers read in it."""
    folder.mkdir(exist_ok=True)
    settings = {"optimizer.lr": {"value": 0.001, "source": "typed"}}
    settings |= {f"section.name{k}": {"value": k, "source": "default"} for k in range(120)}
    write_json(folder / "config.json", {"settings": settings})
    environment = {"versions": {"torchloupe": "0.1.0"}, "command": ["loupe", "train"], "git": GIT}
    write_json(folder / "environment.json", environment)
    write_json(folder / "contract.json", {})
    (folder / "best").mkdir(exist_ok=True)
    (folder / "best" / "model.safetensors").write_bytes(b"weights")
    return folder


def track(
    words: str, folder: Path, events: tuple[Any, ...] = (*EVENTS, RESULTS), **facts: Any
) -> None:
    (tracker,) = make_trackers(words.split(","), folder)
    tracker.start({**FACTS, **facts})
    try:
        for event in events:
            if isinstance(event, Exception):
                raise event
            tracker.record(event)
    except (RuntimeError, Interrupted):
        tracker.close()  # as the run does, while its error is on the way
        return
    tracker.close()


def test_tensorboard_holds_the_numbers_at_their_steps(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    track("tensorboard,tag:team=vision", make_folder(tmp_path))
    log = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    names = [name for name in log.Tags()["scalars"] if not name.startswith("system/")]
    assert sorted(names) == [
        *("epoch", "test/accuracy", "test/accuracy_high", "test/accuracy_low", "test/count"),
        *("train/seconds", "train/steps", "train_loss", "val_accuracy", "val_loss"),
    ]
    assert {"system/cpu_percent", "system/memory_bytes"} <= set(log.Tags()["scalars"])
    assert sorted(log.Tags()["images"]) == ["confusion", "mistakes"]
    assert [(e.step, e.value) for e in log.Scalars("test/accuracy")] == [(4, 0.75)]
    for page, line in (
        ("settings", "    optimizer.lr: 0.001"),
        ("environment", "    git: {'commit': '0123456789abcdef', 'changed': True}"),
        ("tags", "    team: vision"),
    ):
        (text,) = log.Tensors(f"{page}/text_summary")
        assert line in text.tensor_proto.string_val[0].decode().splitlines()
    assert "_hparams_/experiment" in log.summary_metadata
    assert [(e.step, e.value) for e in log.Scalars("val_accuracy")] == [(4, 0.75)]
    (text,) = log.Tensors("run/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    assert "    data: <script>alert(1)</script>\\n# heading \\x1b[31m" in shown.splitlines()


def test_tensorboard_replaces_the_events_a_resumed_run_does_again(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    track("tensorboard", tmp_path, tuple(EVENTS))
    (tracker,) = make_trackers(["tensorboard"], tmp_path)
    tracker.start({**FACTS, "start_step": 2})
    tracker.record({"step": 4, "seconds": 0.2, "val_accuracy": 0.5})
    tracker.close()
    log = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in log.Scalars("val_accuracy")] == [(4, 0.5)]
    assert [e.step for e in log.Scalars("train_loss")] == [2]


@pytest.fixture
def mlflow_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run folder, and what reads back the one MLflow run that belongs to it."""
    mlflow = pytest.importorskip("mlflow", reason="the track extra is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = make_folder(tmp_path / "run")

    def read() -> tuple[Any, list[str]]:
        client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow' / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("torchloupe")
        (found,) = client.search_runs([experiment.experiment_id])
        files = [
            item.path
            for folder in ("", "model")
            for item in client.list_artifacts(found.info.run_id, folder)
        ]
        return found, files

    return folder, read


@pytest.mark.filterwarnings("default")  # MLflow's own libraries warn
def test_mlflow_holds_everything_below_the_run_folder(mlflow_run: Any, tmp_path: Path) -> None:
    folder, read = mlflow_run
    track("mlflow,model,tag:baseline,tag:team=vision", folder)
    found, files = read()
    numbers = {k: v for k, v in found.data.metrics.items() if not k.startswith("system/")}
    assert numbers == {
        "epoch": 1,
        "train_loss": 1.5,
        "val_loss": 0.5,
        "val_accuracy": 0.75,
        "test/accuracy": 0.75,
        "test/accuracy_low": 0.5,
        "test/accuracy_high": 0.875,
        "test/count": 8,
        "train/steps": 4,
        "train/seconds": 2,
    }
    assert found.data.metrics["system/memory_bytes"] > 0
    assert found.data.params["data"] == "<script>alert(1)</script>\\n# heading \\x1b[31m"
    assert found.data.params["optimizer.lr"] == "0.001"
    assert sum(name.startswith("section.") for name in found.data.params) == 120
    tags = {k: v for k, v in found.data.tags.items() if not k.startswith("mlflow.runName")}
    assert tags == {
        "data": "<script>alert(1)</script>\\n# heading \\x1b[31m",
        "torchloupe": "0.1.0",
        "command": "loupe train",
        "git.commit": GIT["commit"],
        "git.changed": "True",
        "mlflow.source.git.commit": GIT["commit"],
        "baseline": "",
        "team": "vision",
    }
    assert sorted(files) == [
        *("config.json", "confusion.png", "environment.json", "mistakes.png", "model"),
        *("model/config.json", "model/contract.json", "model/model.safetensors"),
    ]
    assert found.info.status == "FINISHED"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("error", "status"),
    [(RuntimeError("no"), "FAILED"), (Interrupted("stopped by Ctrl-C", "go on"), "KILLED")],
)
def test_mlflow_says_how_a_run_ended_and_a_resume_goes_on_in_it(
    error: Exception, status: str, mlflow_run: Any
) -> None:
    folder, read = mlflow_run
    track("mlflow", folder, (EVENTS[2], error))
    before, files = read()
    assert before.info.status == status
    assert "confusion.png" not in files
    settings = {"optimizer.lr": {"value": 0.5, "source": "typed"}}
    write_json(folder / "config.json", {"settings": settings})
    track("mlflow", folder, (EVENTS[3], RESULTS), start_step=2)
    after, files = read()
    assert after.info.run_id == before.info.run_id
    assert after.info.status == "FINISHED"
    assert after.data.metrics["train_loss"] == 1.5
    assert after.data.metrics["val_accuracy"] == 0.75
    assert after.data.params["optimizer.lr"] == "0.001"  # MLflow keeps the first value
    assert after.data.tags["resumed.optimizer.lr"] == "0.5"
    assert "model" not in files


@pytest.mark.filterwarnings("default")
def test_wandb_writes_below_the_run_folder_when_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="the track extra is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    run = make_folder(tmp_path / "run")
    track("wandb,model,tag:team=vision", run)
    (log,) = run.glob("wandb/offline-run-*/run-*.wandb")
    wanted = [b"optimizer.lr", b"test/accuracy", b"team=vision", b"confusion", b"mistakes"]
    wanted += [GIT["commit"].encode(), b"model.safetensors"]
    end = time.monotonic() + 20  # W&B writes it after finish() has returned
    while missing := [part for part in wanted if part not in log.read_bytes()]:
        assert time.monotonic() < end, missing
        time.sleep(0.1)
    track("wandb", run, (EVENTS[3], RESULTS), start_step=2)
    logs = list(run.glob("wandb/offline-run-*/run-*.wandb"))
    assert {path.name for path in logs} == {log.name}  # the same id: a sync joins them
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
        f"tracking with {name} needs a package that is not installed "
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


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["model"], "track=model names no tracker", "add tensorboard, mlflow or wandb"),
        (
            ["tensorboard", "model"],
            "TensorBoard keeps no models, and track asks for the model",
            "leave model out of track: the run folder has it; or add mlflow or wandb",
        ),
        (
            ["mlflow", "tag:=x"],
            "track has a tag without a name",
            "for example track=mlflow,tag:baseline",
        ),
    ],
)
def test_make_trackers_refuses_what_no_tracker_can_do(
    words: list[str], message: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        make_trackers(words, tmp_path)
    assert (caught.value.message, caught.value.hint) == (message, hint)


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


def test_a_run_is_tracked_with_its_settings_results_and_pictures(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    settings = {"track": "tensorboard,tag:first", "train.epochs": 0.2}
    run = loupe.fit("digits", model="net", out=tmp_path / "run", settings=settings)
    log = accumulator.EventAccumulator(str(run.folder / "tensorboard")).Reload()
    (accuracy,) = log.Scalars("test/accuracy")
    assert accuracy.value == pytest.approx(run.metrics["test"]["accuracy"])
    assert accuracy.step == run.step
    assert "confusion" in log.Tags()["images"]
    (text,) = log.Tensors("settings/text_summary")
    lines = text.tensor_proto.string_val[0].decode().splitlines()
    assert "    train.epochs: 0.2" in lines
    assert "    model.name: net" in lines


def test_an_unknown_tracker_is_refused_before_a_run_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no tracker mlfow"):
        loupe.fit("digits", out=tmp_path / "run", settings={"track": "mlfow"})
    assert not (tmp_path / "run").exists()
