"""What a recipe decides that was left open."""

from typing import Any

import pytest

from torchloupe.config import Config
from torchloupe.recipes import Facts, fill_in
from torchloupe.settings import change


@pytest.mark.parametrize("strategy", ["scratch", "finetune"])
@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({}, {"fused": True}),
        ({"optimizer.name": "Adam"}, {"fused": True}),
        ({"optimizer.name": "sgd"}, {"fused": True}),
        ({"optimizer.name": "rmsprop"}, {}),
        ({"optimizer.name": "adam", "optimizer.options.fused": "false"}, {"fused": False}),
    ],
)
def test_optimizer_is_fused_where_torch_can_and_nothing_else_was_asked_for(
    strategy: str, settings: dict[str, Any], options: dict[str, Any]
) -> None:
    typed = change(Config(), {**settings, "train.strategy": strategy})
    facts = Facts(1000, 2, 3, (224, 224), own_data=False, multi_label=False)
    filled, _ = fill_in(typed, facts, dict.fromkeys(settings, "typed"))
    assert filled.optimizer.options == options
