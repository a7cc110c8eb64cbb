"""A command that was typed is written again with its options, so that a shell reads the same."""

import shlex
from typing import Any

import pytest

from torchloupe.cli.typed import train_words, typed_settings
from torchloupe.config.settings import Settings


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({"data.folds": 3, "data.fold": 0}, ""),
        ({"train.strategy": "head", "train.seed": 1}, "--strategy head --seed 1"),
        ({"train.epochs": 40.0, "optimizer.lr": "3e-4"}, "--epochs 40 --set optimizer.lr=3e-4"),
        ({"model.options": {"depth": 3}}, """--set 'model.options={"depth": 3}'"""),
        ({"data.download": True, "lens.samples": False}, "--download --set lens.samples=false"),
    ],
)
def test_options_are_kept_but_those_of_folds(typed: dict[str, Any], words: str) -> None:
    found = train_words("my photos/", {"data.source": "my photos/", **typed})
    assert shlex.split(found) == shlex.split(f"loupe train 'my photos/' {words}")


def test_recipe_is_kept_and_settings_know_what_was_typed() -> None:
    assert (
        train_words("digits", {}, "mine.py:recipe") == "loupe train digits --recipe mine.py:recipe"
    )
    settings = Settings().with_typed({"data.source": "digits", "model.options.depth": "3"})
    assert typed_settings(settings.with_recipe({"optimizer.lr": 0.1})) == {"data.source": "digits"}
