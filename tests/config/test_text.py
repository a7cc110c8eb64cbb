"""Settings: text to values and back, all mistakes at once, and where each value came from."""

import pytest

from torchloupe.config.schema import Config
from torchloupe.config.text import change, parse_assignments
from torchloupe.errors import UsageError


def test_change_reads_the_text_people_type():
    config = change(
        Config(),
        {
            "optimizer.lr": "3e-4",
            "train.epochs": "5",
            "augment.flip": "true",
            "model.options.depth": "3",
            "track": "tensorboard,wandb",
            "loss.weights": "[1, 2.5]",
            "data.class_names": '["a, b", "c"]',
            "hardware.channels_last": "auto",
            "train.seed": "7",
        },
    )
    assert config.optimizer.lr == 3e-4
    assert config.train.epochs == 5.0
    assert config.augment.flip is True
    assert config.model.options == {"depth": 3}
    assert config.track == ("tensorboard", "wandb")
    assert config.loss.weights == (1.0, 2.5)
    assert config.data.class_names == ("a, b", "c")
    assert config.hardware.channels_last == "auto"
    assert config.train.seed == 7


def test_change_leaves_the_original_alone():
    before = Config()
    change(before, {"model.options.depth": 3, "train.seed": 1})
    assert before == Config()


def test_change_reports_all_wrong_settings_at_once_with_near_misses():
    with pytest.raises(UsageError) as caught:
        change(Config(), {"optimzer.lr": 1, "train.epohcs": 2, "train.seed": "x"})
    assert caught.value.message == (
        "these settings can't be used: optimzer.lr (did you mean 'optimizer.lr'?); "
        "train.epohcs (did you mean 'train.epochs'"
        " or 'train.report' or 'train.test'?); train.seed: 'x' is not a whole number"
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lr", "did you mean 'optimizer.lr'?"),
        ("optimizer.epochs", "did you mean 'train.epochs'?"),
        ("lens.zzz", "known: lens."),
        ("zzz.qqq", r"known: data.\*, model.\*, "),
    ],
)
def test_a_wrong_setting_gets_a_short_hint(name, hint):
    with pytest.raises(UsageError, match=hint) as caught:
        change(Config(), {name: 1})
    assert len(caught.value.message) < 600


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train.keep", 0),
        ("data.mode", "CMYK"),
        ("data.val_fraction", 1.5),
        ("optimizer.lr", "nan"),
        ("train.epochs", -1),
        ("train.seed", 1.5),
        ("augment.flip", "maybe"),
        ("track", {"a": 1}),
    ],
)
def test_change_refuses_values_out_of_range(name, value):
    with pytest.raises(UsageError, match=name):
        change(Config(), {name: value})


def test_change_refuses_a_split_that_leaves_nothing_to_train_on():
    with pytest.raises(UsageError, match="nothing to train on"):
        change(Config(), {"data.val_fraction": 0.5, "data.test_fraction": 0.5})


@pytest.mark.parametrize("text", ["optimizer.lr", "=3", " =3"])
def test_parse_assignments_wants_name_and_value(text):
    with pytest.raises(UsageError, match="name=value"):
        parse_assignments([text])


def test_parse_assignments_keeps_equals_signs_in_the_value():
    assert parse_assignments(["model.name=a.py:B", "data.source=x=y"]) == {
        "model.name": "a.py:B",
        "data.source": "x=y",
    }
