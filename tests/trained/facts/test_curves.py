"""Curves of a training."""

from torchloupe.trained.facts.curves import MOST_POINTS, describe_training, training_charts

EVENTS = [
    {"note": "a remark"},
    {
        "step": 1,
        "epoch": 0.5,
        "seconds": 1.0,
        "train_loss": 2.0,
        "lr": 0.1,
        "images_per_second": 10.0,
        "signals": {"conv": {"mean": 0.1, "dead_fraction": 0.5}},
    },
    {
        "step": 2,
        "epoch": 1.0,
        "seconds": 2.0,
        "train_loss": 1.0,
        "lr": 0.05,
        "images_per_second": 12.0,
    },
    {"step": 2, "epoch": 1.0, "seconds": 2.0, "val_loss": 1.5, "val_accuracy": 0.5, "best": True},
]


def test_losses_stand_in_one_chart_with_the_best_marked():
    charts = training_charts(EVENTS)
    assert list(charts) == ["loss", "curve-val_accuracy", "lr", "speed"]
    train, val = charts["loss"]["series"]
    assert (train["x"], train["y"]) == ([0.5, 1.0], [2.0, 1.0])
    assert (val["name"], val["x"], val["y"]) == ("val", [1.0], [1.5])
    assert charts["loss"]["marks"] == [{"x": 1.0, "label": "best"}]
    assert charts["curve-val_accuracy"]["y"]["unit"] == "%"


def test_long_trainings_are_thinned_and_end_where_they_ended():
    events = [
        {"step": k, "epoch": k / 10, "seconds": k, "train_loss": 1 / k, "lr": 0.1}
        for k in range(1, 2000)
    ]
    line = training_charts(events)["loss"]["series"][0]
    assert len(line["x"]) == MOST_POINTS
    assert line["x"][-1] == 199.9


def test_signals_of_layers_and_facts_are_told():
    metrics = {
        "train": {
            "seconds": 61.0,
            "steps": 2,
            "skipped_steps": 1,
            "memory": {"peak_bytes": {"train": 10**9}},
        }
    }
    section, charts = describe_training(EVENTS, metrics)
    assert section["layers"] == [
        {
            "name": "conv",
            "charts": [
                ("signal-0-mean", "mean of the output"),
                ("signal-0-dead_fraction", "dead units"),
            ],
        }
    ]
    assert charts["signal-0-dead_fraction"]["series"][0]["y"] == [0.5]
    facts = dict(section["facts"])
    assert facts["steps"] == "2, 1 of them not applied"
    assert facts["memory at most"] == "train 1 GB"
    assert facts["best checkpoint"] == "after epoch 1"


def test_before_the_first_log_line_there_is_no_section():
    assert describe_training([{"note": "x"}], {}) is None
