"""What an optimizer does with a weight, found by letting it step on one of its own."""

import copy
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def step_alone(
    optimizer: Optimizer, group: dict[str, Any], start: Tensor, gradient: Tensor
) -> Tensor | None:
    """`start` after one first step with `gradient` under the settings of `group`.

    None where the optimizer takes no such step: it wants a closure, or other parameters. The
    parameters and the state of `optimizer` are not touched.
    """
    weight = nn.Parameter(start.clone())
    weight.grad = gradient.clone()
    try:
        alone = copy.copy(optimizer)
        alone.state = defaultdict(dict)
        alone.param_groups = [{**group, "params": [weight]}]
        alone.step()
    except Exception:
        return None
    return weight.detach()


def minds_scale(optimizer: Optimizer) -> bool:
    """Whether a first step grows with the gradient, as SGD's does and Adam's doesn't."""
    first = optimizer.param_groups[0]
    group = {**first, "weight_decay": 0.0, "lr": max(float(first["lr"]), 1e-3)}
    device = first["params"][0].device
    start = torch.ones(4, 4, device=device)
    slope = torch.linspace(-1, 1, 16, device=device).view(4, 4)
    one, many = (step_alone(optimizer, group, start, scale * slope) for scale in (1.0, 16.0))
    if one is None or many is None:
        return True
    return bool((many - start).norm() > 2 * (one - start).norm())
