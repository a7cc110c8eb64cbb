"""Weight decay that is stronger than what the loss says: measured on weights of its own."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchloupe.checks.rules import step_alone
from torchloupe.run.events import Verdict

STRONG = 5e-3  # share of a weight that a step takes away: after 140 steps half of it is gone
LARGE = 1e4  # a weight whose own decay is seen in an optimizer that scales gradients
OUTWEIGHS = 2.0  # times the gradient


def judge_decay(
    optimizer: Optimizer, model: nn.Module, gradients: Mapping[str, Tensor]
) -> list[Verdict]:
    """A warning where decay takes weights away faster than training can learn them.

    `gradients` are those of some steps, by name.
    """
    decay, rate, strongest = max(
        map(_decay_of, optimizer.param_groups), key=lambda each: each[0] * each[1]
    )
    if not decay:
        return []
    named = {id(p): name for name, p in model.named_parameters()}
    ratios = [
        decay * float(p.detach().norm()) / float(gradients[named[id(p)]].norm().clamp_min(1e-12))
        for p in strongest["params"]
        if p.ndim > 1 and named.get(id(p)) in gradients
    ]
    share = _taken_by_a_step(optimizer, strongest, rate)
    if share is None or share >= STRONG:
        return [] if share is None else [_too_strong(decay, rate, f"{share:.1%} of each weight")]
    is_scaled = share < 0.1 * rate * decay  # the decay is part of a gradient that is scaled
    ratio = sorted(ratios)[len(ratios) // 2] if ratios else 0.0
    if is_scaled and ratio > OUTWEIGHS:
        seen = f"{ratio:.0f} times what the loss's gradient does"
        return [_too_strong(decay, rate, seen)]
    return []


def _decay_of(group: dict[str, Any]) -> tuple[float, float, dict[str, Any]]:
    """The decay, the learning rate (of a schedule: its base), and the group."""
    rate = max(float(group["lr"]), float(group.get("initial_lr", 0.0)))
    return float(group.get("weight_decay") or 0.0), rate, group


def _taken_by_a_step(optimizer: Optimizer, group: dict[str, Any], rate: float) -> float | None:
    """The share of a large weight that one step without gradient takes away; None: not known."""
    start = torch.full((4, 4), LARGE, dtype=torch.float64, device=group["params"][0].device)
    after = step_alone(optimizer, {**group, "lr": rate}, start, torch.zeros_like(start))
    return None if after is None else 1 - float(after.mean()) / LARGE


def _too_strong(decay: float, rate: float, seen: str) -> Verdict:
    return Verdict(
        "weight-decay-too-strong",
        "warning",
        seen=f"weight decay {decay:g} with learning rate {rate:g} takes away {seen} in a step",
        remedy="try 5e-4 for SGD, 0.01 to 0.1 for AdamW, 0 for Adam",
        where="optimizer",
        why="the weights go to 0 whatever the images are",
        numbers={"weight_decay": decay, "lr": rate},
    )
