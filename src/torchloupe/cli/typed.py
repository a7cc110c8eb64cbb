"""The `loupe train` command that was typed, written again for one run instead of folds."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchloupe.cli.text import quote
from torchloupe.config.schema import flatten
from torchloupe.config.settings import TYPED, Settings
from torchloupe.system.user_code import PYTHON_OBJECT

_FLAGS = {
    "model.name": "--model",
    "train.strategy": "--strategy",
    "model.weights": "--weights",
    "distill.teacher": "--teacher",
    "train.epochs": "--epochs",
    "train.minutes": "--minutes",
    "hardware.device": "--device",
    "hardware.precision": "--precision",
    "train.seed": "--seed",
}
_OF_FOLDS = ("data.source", "data.folds", "data.fold")


def typed_settings(settings: Settings) -> dict[str, Any]:
    """The settings that a person typed, by dotted name."""
    values = flatten(settings.config)
    return {name: values[name] for name in values if settings.origin(name) == TYPED}


def train_words(source: str, typed: Mapping[str, Any], recipe: str | None = None) -> str:
    """`loupe train SOURCE` with the options that were typed, but those of folds."""
    words = ["loupe train", "DATA" if source in ("", PYTHON_OBJECT) else quote(source)]
    words += ["--recipe", quote(Path(recipe))] if recipe else []
    for name, value in typed.items():
        if name in _OF_FOLDS:
            continue
        if name == "data.download":
            words.append("--download")
            continue
        is_plain = isinstance(value, (str, int, float)) and not isinstance(value, bool)
        text = str(value) if is_plain else json.dumps(value)
        text = text.removesuffix(".0") if isinstance(value, float) else text
        words += (
            [_FLAGS[name], quote(text)] if name in _FLAGS else ["--set", quote(f"{name}={text}")]
        )
    return " ".join(words)
