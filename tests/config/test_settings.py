"""Settings with their origins: what is open, what a recipe or a measurement may still choose."""

import json

import pytest

from torchloupe.config.schema import flatten
from torchloupe.config.settings import Settings, read_settings
from torchloupe.errors import UsageError


def test_typed_settings_are_not_open():
    settings = Settings().with_typed({"optimizer.lr": 0.1})
    assert settings.origin("optimizer.lr") == "typed"
    assert not settings.is_open("optimizer.lr")
    assert settings.is_open("train.epochs")


def test_recipe_changes_what_is_open_and_nothing_else():
    settings = Settings().with_typed({"optimizer.lr": 0.1})
    filled = settings.with_recipe({"optimizer.lr": 0.5, "train.epochs": 3, "train.seed": 0})
    assert (filled.config.optimizer.lr, filled.config.train.epochs) == (0.1, 3)
    assert filled.origin("train.epochs") == "recipe"
    assert filled.is_open("train.seed")  # the recipe's value is the default


def test_measured_settings_are_closed_even_where_they_are_the_default():
    settings = Settings().with_measured({"hardware.threads": 0})
    assert settings.origin("hardware.threads") == "measured"


def test_default_can_change_and_stay_open():
    settings = Settings().with_default({"hardware.precision": "fp32"})
    assert settings.config.hardware.precision == "fp32"
    assert settings.is_open("hardware.precision")


def test_closed_settings_leave_nothing_open():
    settings = Settings().with_typed({"optimizer.lr": 0.1}).closed()
    assert settings.origin("optimizer.lr") == "typed"
    assert not any(settings.is_open(name) for name in flatten(settings.config))


def test_changed_marks_what_differs():
    settings = Settings().changed({"train.seed": 0, "train.keep": 5}, "typed")
    assert settings.is_open("train.seed")
    assert settings.origin("train.keep") == "typed"


def test_unknown_names_are_reported_together():
    with pytest.raises(UsageError, match=r"optimizer\.rate .*train\.epoch "):
        Settings().with_typed({"optimizer.rate": 1, "train.epoch": 2})


def test_config_json_gives_back_the_same_settings_and_origins(tmp_path):
    typed = {"optimizer.lr": 0.1, "model.options.depth": 3, "track": ["wandb"]}
    settings = Settings().changed(typed, "typed")
    path = tmp_path / "config.json"
    path.write_text(settings.to_json())
    again = read_settings(path)
    assert again.config == settings.config
    assert again.origin("optimizer.lr") == "typed"
    assert again.origin("train.epochs") == "default"
    assert set(again.origins) == set(flatten(settings.config))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1, "settings": 3}', "\x80"])
def test_read_settings_refuses_what_is_not_a_config(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match=r"is not a torchloupe config\.json"):
        read_settings(path)


def test_read_settings_refuses_another_format(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"format": 99, "settings": {}}))
    with pytest.raises(UsageError, match="format 99"):
        read_settings(path)


def test_read_settings_treats_code_in_a_value_as_text(tmp_path):
    content = json.loads(Settings().to_json())
    content["settings"]["model.name"]["value"] = "__import__('os').system('false')"
    path = tmp_path / "config.json"
    path.write_text(json.dumps(content))
    assert read_settings(path).config.model.name == "__import__('os').system('false')"
