"""Copies of models, those included that keep activations in their attributes."""

import copy

from torch import nn

from torchloupe.lens.watch import tensors_in


def copy_model(model: nn.Module) -> nn.Module:
    """A deep copy of `model`.

    Tensors in its attributes that a forward left there, with their graph, are copied without it:
    `copy.deepcopy` refuses them.
    """
    memo = {
        id(tensor): tensor.detach().clone()
        for module in model.modules()
        for key, value in vars(module).items()
        if key not in ("_parameters", "_buffers", "_modules")
        for tensor in tensors_in(value)
        if tensor.grad_fn is not None
    }
    return copy.deepcopy(model, memo)
