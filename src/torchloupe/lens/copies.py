"""Copies of models, those included that keep activations in their attributes."""

import copy
import pickle
from typing import Any

from torch import nn

from torchloupe.errors import UsageError, printable
from torchloupe.lens.watch import tensors_in


def copy_model(model: nn.Module) -> nn.Module:
    """A deep copy of `model`.

    Tensors in its attributes that a forward left there, with their graph, are copied without it:
    `copy.deepcopy` refuses them. UsageError for a model that holds what can't be copied: a lock, an
    open file, a generator.
    """
    try:
        return copy.deepcopy(model, without_graphs(model))
    except (TypeError, pickle.PicklingError) as error:
        raise UsageError(
            f"the model can't be copied, and checks work on copies: {printable(error)}"
            f"{_name_uncopied(model)}",
            "make such things when they are needed, not in __init__, or keep them elsewhere",
        ) from error


def _name_uncopied(model: nn.Module) -> str:
    """The first attribute that can't be copied, for an error; "" if none is found."""
    for place, module in model.named_modules():
        for name, value in vars(module).items():
            if name in ("_parameters", "_buffers", "_modules") or isinstance(value, nn.Module):
                continue
            try:
                copy.deepcopy(value, without_graphs(module))
            except (TypeError, pickle.PicklingError):
                return f" ({printable('.'.join(filter(None, (place, name))), 80)})"
    return ""


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
