"""What a recipe decides that was left open."""

from dataclasses import replace
from typing import Any

import pytest

from torchloupe.config.schema import INSTALLED
from torchloupe.config.settings import Settings
from torchloupe.recipes.choice import Facts, fill_in

FACTS = Facts(1000, 2, 3, (224, 224), own_data=False, multi_label=False)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"train.strategy": "scratch"}, "muon"),
        ({"train.strategy": "scratch", "model.name": "cnn"}, "adamw"),
        ({"train.strategy": "scratch", "hardware.parallel": "fsdp"}, "adamw"),
        ({"train.strategy": "finetune"}, "adamw"),
    ],
)
def test_optimizer_suits_network_and_strategy(settings: dict[str, Any], name: str) -> None:
    filled = fill_in(Settings().with_typed(settings), FACTS)
    found = (filled.config.optimizer.name, filled.origin("optimizer.name"))
    assert found == (name, "recipe")
    assert filled.config.optimizer.options == ({} if name == "muon" else {"fused": True})


@pytest.mark.parametrize("strategy", ["scratch", "finetune"])
@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"model.name": "cnn"}, {"fused": True}),
        ({"optimizer.name": "Adam"}, {"fused": True}),
        ({"optimizer.name": "sgd"}, {"fused": True}),
        ({"optimizer.name": "rmsprop"}, {}),
        ({"optimizer.name": "adam", "optimizer.options.fused": "false"}, {"fused": False}),
    ],
)
def test_optimizer_is_fused_where_torch_can_and_nothing_else_was_asked_for(
    strategy: str, settings: dict[str, Any], options: dict[str, Any]
) -> None:
    filled = fill_in(Settings().with_typed({**settings, "train.strategy": strategy}), FACTS)
    assert filled.config.optimizer.options == options


def test_pretrained_backbone_sees_no_mirror_images_of_digits() -> None:
    settings = Settings().with_typed({"train.strategy": "head", "model.name": "timm:resnet10t"})
    names = tuple("0123456789")
    filled = fill_in(settings, replace(FACTS, classes=10, class_names=names)).config
    assert not filled.augment.flip
    assert "views" not in filled.model.options


@pytest.mark.parametrize(
    ("model", "count", "typed", "options"),
    [
        (INSTALLED, 1000, {}, {"views": 2, "inner": True}),
        (INSTALLED, 1000, {"model.options.inner": "false"}, {"views": 2, "inner": False}),
        (INSTALLED, 1000, {"augment.flip": "false"}, {"inner": True}),
        (INSTALLED, 50_000, {}, {"views": 2}),
        ("timm:resnet10t", 1000, {}, {"views": 2}),
    ],
)
def test_installed_backbone_gives_features_of_inner_channels_for_sets_that_fit_in_memory(
    model: str, count: int, typed: dict[str, Any], options: dict[str, Any]
) -> None:
    settings = Settings().with_typed({"train.strategy": "head", "model.name": model, **typed})
    assert fill_in(settings, replace(FACTS, train_count=count)).config.model.options == options
