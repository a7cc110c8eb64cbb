"""Settings as plain data: frozen, flat names, and values outside their range refused together."""

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from torchloupe.config.schema import Config, check, flatten
from torchloupe.config.text import change
from torchloupe.errors import UsageError


def test_defaults_are_within_their_ranges() -> None:
    assert check(Config()) is None


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Config().train.epochs = 3  # type: ignore[misc]


def test_flatten_names_every_setting_once() -> None:
    flat = flatten(Config())
    assert flat["optimizer.lr"] == Config().optimizer.lr
    assert flat["track"] == ()
    assert not [name for name, value in flat.items() if hasattr(value, "__dataclass_fields__")]
    changed = flatten(replace(Config(), track=("tensorboard",)))
    assert {name for name in flat if flat[name] != changed[name]} == {"track"}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("data.mode", "rgb", "data.mode=rgb (known: L, RGB, auto)"),
        ("data.fit", "stretched", "data.fit=stretched (did you mean 'stretch'?)"),
        ("loss.smoothing", 1.0, "loss.smoothing=1.0 (from 0 to 0.999)"),
        ("train.keep", 0, "train.keep=0 (from 1 to 10000)"),
        ("train.seed", -1, "train.seed=-1 (from 0 to 9.22337e+18)"),
        ("hardware.gpus", "none", "hardware.gpus=none (a number, or all)"),
        ("data.folds", 1, "data.folds and data.fold (two folds or more, and one of them)"),
        ("lens.watch", "conv*", "lens.watch and lens.hook (one needs the other)"),
    ],
)
def test_value_out_of_range_is_refused(name: str, value: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        check(change(Config(), {name: value}))
    assert caught.value.message == f"these settings are out of range: {said}"
    assert caught.value.hint == "docs/settings.md lists every setting with what it takes"


def test_all_values_out_of_range_are_named_at_once() -> None:
    wrong = {"data.val_fraction": 0.5, "data.test_fraction": 0.5, "augment.hue": 2.0}
    with pytest.raises(UsageError) as caught:
        check(change(Config(), wrong))
    assert "augment.hue=2.0 (from 0 to 0.5)" in caught.value.message
    assert "(they leave nothing to train on)" in caught.value.message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_learning_rate_that_is_no_number_is_refused(value: float) -> None:
    config = replace(Config(), optimizer=replace(Config().optimizer, lr=value))
    with pytest.raises(UsageError, match=r"optimizer\.lr"):
        check(config)
