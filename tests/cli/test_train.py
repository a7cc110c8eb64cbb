"""What was typed becomes settings, and contradictions are refused."""

import pytest

from torchloupe.cli.train import collect_settings
from torchloupe.errors import UsageError


def test_collect_settings_keeps_only_what_was_typed() -> None:
    flags = {"data.source": "digits", "train.epochs": None, "train.seed": 0}
    assert collect_settings(flags, ["optimizer.lr=3e-4", "model.options.depth=3"]) == {
        "data.source": "digits",
        "train.seed": 0,
        "optimizer.lr": "3e-4",
        "model.options.depth": "3",
    }


def test_collect_settings_takes_the_same_value_twice() -> None:
    assert collect_settings({"train.seed": 1}, ["train.seed=1"]) == {"train.seed": "1"}


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["train.seed=2"], "train.seed was given twice: 1 and 2"),
        (["optimizer.lr=1", "optimizer.lr=2"], "optimizer.lr was given twice: 1 and 2"),
        (
            ["train.epochs=1", "train.minutes=2"],
            "both epochs and minutes were given, and either one decides when training ends",
        ),
    ],
)
def test_collect_settings_refuses_contradictions(assignments: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        collect_settings({"train.seed": 1}, assignments)
    assert caught.value.message == message
    assert caught.value.hint == "leave one of them out"
