"""Copies of models, those included that keep activations in their attributes."""

import copy
from typing import Any

from torch import nn

from torchloupe.lens.watch import tensors_in


def copy_model(model: nn.Module) -> nn.Module:
    """A deep copy of `model`.

    Tensors in its attributes that a forward left there, with their graph, are copied without it:
    `copy.deepcopy` refuses them.
    """
    return copy.deepcopy(model, without_graphs(model))


def without_graphs(model: nn.Module) -> dict[int, Any]:
    """What `copy.deepcopy` is to use in place of tensors with a graph, as its memo."""
    return {
        id(tensor): tensor.detach().clone()
        for module in model.modules()
        for key, value in vars(module).items()
        if key not in ("_parameters", "_buffers", "_modules")
        for tensor in tensors_in(value)
        if tensor.grad_fn is not None
    }
