"""What a recipe decides that was left open."""

from typing import Any

import pytest

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
