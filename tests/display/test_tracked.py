"""What trackers are told of a run: numbers, results, tags, and the id for a resume."""

from pathlib import Path

import pytest

from torchloupe.display.tracked import (
    SystemMetrics,
    TrackedRun,
    Wanted,
    numbers_of,
    outcome_of,
    parse_track,
    results_of,
)
from torchloupe.errors import Interrupted, NumericError, Terminated


def test_numbers_of_leaves_out_what_is_no_measurement() -> None:
    train = {"step": 2, "epoch": 0.5, "seconds": 0.1, "train_loss": 1.5, "lr": float("nan")}
    val = {"step": 4, "epoch": 1.0, "seconds": 0.2, "val_loss": 0.5, "best": True}
    events = [{"note": "a remark"}, {"phase": "pack", "done": 1, "total": 2}, train, val]
    assert [dict(numbers_of(event)) for event in events] == [
        {},
        {},
        {"epoch": 0.5, "train_loss": 1.5},
        {"epoch": 1.0, "val_loss": 0.5},
    ]


def test_numbers_of_names_signals_by_statistic_and_layer() -> None:
    signals = {"conv1": {"mean": 0.5, "std": None}, "a:b\x1b\n": {"mean": 1.0}}
    found = dict(numbers_of({"step": 1, "signals": signals}))
    assert found == {"mean/conv1": 0.5, "mean/a_b__": 1.0}


def test_results_of_are_the_numbers_of_each_split() -> None:
    metrics = {
        "val": {"accuracy": 0.5, "confusion": [[1, 0], [0, 1]]},
        "test": {"accuracy": 0.25, "accuracy_ci95": [0.125, 0.5], "loss": None},
        "train": {"steps": 10, "memory": {"peak_bytes": {}}},
    }
    assert results_of(metrics) == {
        "best_val/accuracy": 0.5,
        "test/accuracy": 0.25,
        "test/accuracy_low": 0.125,
        "test/accuracy_high": 0.5,
        "train/steps": 10,
    }


def test_parse_track_takes_trackers_tags_and_the_model_apart() -> None:
    words = ["mlflow", "tag:baseline", "tag: team = vision=x", "model", "mlflow"]
    assert parse_track(words) == Wanted(("mlflow",), {"baseline": "", "team": "vision=x"}, True)
    assert parse_track([]) == Wanted()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NumericError("nan", "lower the rate"), "FAILED"),
        (Interrupted("stopped", "go on"), "KILLED"),
        (Terminated("stopped", "go on"), "KILLED"),
        (KeyboardInterrupt(), "KILLED"),
    ],
)
def test_outcome_of_a_run_follows_the_error_on_its_way(error: BaseException, outcome: str) -> None:
    seen = []
    with pytest.raises(type(error)):
        try:
            raise error
        finally:
            seen = [outcome_of(False), outcome_of(True)]
    assert seen == [outcome, "FINISHED"]


def test_tracked_run_without_files_has_no_settings_and_keeps_its_ids(tmp_path: Path) -> None:
    run = TrackedRun(tmp_path)
    assert run.parameters({"data": "a\nb"}) == {"data": "a\\nb"}
    assert run.tags({"data": "digits"}) == {"data": "digits"}
    assert run.read_id("mlflow") == ""
    run.write_id("mlflow", "1")
    run.write_id("wandb", "2")
    assert (run.read_id("mlflow"), run.read_id("wandb")) == ("1", "2")
    assert run.model_files() == []


def test_system_metrics_measure_this_process() -> None:
    found = SystemMetrics().read()
    assert found["system/memory_bytes"] > 10_000_000
    assert found["system/free_memory_bytes"] > 0
    assert 0 <= found["system/cpu_percent"] < 100_000
