"""Layers and tensors that a model uses without having registered them."""

import torch
from torch import Tensor, nn

from torchloupe.errors import printable
from torchloupe.lens.hidden import find_attribute, recording_strangers, stateful_strangers
from torchloupe.lens.trace import unchanged
from torchloupe.run.events import Verdict

_HOLDERS = {"list": "ModuleList", "tuple": "ModuleList", "dict": "ModuleDict"}


def find_hidden_layers(model: nn.Module, images: Tensor) -> list[Verdict]:
    """An error where forward calls layers that are no part of the model."""
    with unchanged(model, images.device), recording_strangers(model) as calls, torch.no_grad():
        model.eval()
        model(images)
    hidden = stateful_strangers(model, calls.modules)
    if not hidden:
        return []
    place = find_attribute(model, hidden[0])
    kind = type(hidden[0]).__name__
    if place.name:
        name, holder = printable(place.name, 80), printable(place.holder, 80)
        seen = (
            f"forward uses {name} ({kind}), and {holder} is a plain {place.kind}: what is in it is "
            "neither trained, moved to the device nor saved"
        )
        remedy = _registered(place.holder, place.kind)
    else:
        name = kind
        seen = (
            f"forward uses a {kind} that is no attribute of the model: it is neither trained nor "
            "saved, and eval mode doesn't reach it"
        )
        remedy = f"make it once, in __init__: self.layer = nn.{kind}(...)"
    return [
        Verdict(
            "unregistered-layers",
            "error",
            seen=seen,
            remedy=remedy,
            where=name,
            why="model.parameters() doesn't have them, and after loading they are random again",
            numbers={"layers": len(hidden)},
        )
    ]


def _registered(holder: str, kind: str) -> str:
    name = printable(holder.rpartition(".")[2], 80)
    if kind in _HOLDERS:
        return f"make it an nn.{_HOLDERS[kind]}: self.{name} = nn.{_HOLDERS[kind]}(...)"
    return f"make the layers attributes of the model, in an nn.ModuleList: self.{name} = ..."


def find_hidden_tensors(model: nn.Module, strangers: list[Tensor]) -> list[Verdict]:
    """An error where `strangers`, which get a gradient, are no parameters of the model."""
    if not strangers:
        return []
    place, shown = find_attribute(model, strangers[0]), list(strangers[0].shape)
    name = printable(place.name or "a tensor made in forward", 80)
    several = "nn.ParameterDict" if place.kind == "dict" else "nn.ParameterList"
    kind = "nn.Parameter" if place.name == place.holder else several
    attribute = printable(place.holder.rpartition(".")[2] or "weight", 80)
    return [
        Verdict(
            "unregistered-parameters",
            "error",
            seen=f"{name} {shown} wants a gradient and is no parameter of the model: it is neither "
            "trained nor saved",
            remedy=f"make it one in __init__: self.{attribute} = {kind}(...)",
            where=name,
            why="model.parameters() doesn't have it",
            numbers={"tensors": len(strangers)},
        )
    ]
