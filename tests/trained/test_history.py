"""Events as columns."""

import numpy as np

from torchloupe.trained.history import FIRST, collect_columns, spent_seconds

EVENTS = [
    {"note": "a remark"},
    {"stage": "head", "stage_seconds": 2.0},
    {"step": 5, "epoch": 0.5, "seconds": 1.0, "train_loss": 2.0, "lr": 0.1, "weights": "00ff"},
    {"step": 7, "overflow": True, "scale": 512.0},
    {"step": 10, "epoch": 1.0, "seconds": 2.0, "train_loss": None, "lr": 0.05, "total_steps": 20},
    {"step": 10, "epoch": 1.0, "seconds": 2.5, "val_loss": 0.5, "val_accuracy": 1, "best": True},
]


def test_columns_have_a_row_for_each_step_that_was_logged_or_evaluated() -> None:
    found = collect_columns(EVENTS)
    assert list(found) == [*FIRST, "best"]
    assert {name: column.dtype.name for name, column in found.items()} == {
        **dict.fromkeys(FIRST, "float64"),
        "step": "int64",
        "best": "bool",
    }
    assert found["step"].tolist() == [5, 10]
    assert found["seconds"].tolist() == [1.0, 2.5]
    assert found["best"].tolist() == [False, True]
    for name, values in {
        "train_loss": [2.0, np.nan],
        "lr": [0.1, 0.05],
        "val_loss": [np.nan, 0.5],
        "val_accuracy": [np.nan, 1.0],
    }.items():
        assert np.array_equal(found[name], values, equal_nan=True)


def test_columns_of_a_run_without_events_are_empty() -> None:
    found = collect_columns([])
    assert list(found) == [*FIRST, "best"]
    assert all(len(column) == 0 for column in found.values())


def test_time_of_a_head_counts_and_an_unknown_one_is_left_out() -> None:
    assert spent_seconds({"seconds": 0.0, "steps": 0, "head_seconds": 3.5}) == 3.5
    assert spent_seconds({"seconds": 2.0, "steps": 9}) == 2.0
    assert spent_seconds({"seconds": 0.0, "steps": 0}) is None
