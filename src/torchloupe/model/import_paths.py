"""torch's own losses, optimizers and schedulers as settings: their import paths and arguments.

An object that can be made again from plain values is named in config.json, so that a run can be
resumed without it. Everything else stays a Python object.
"""

import inspect
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from torchloupe.model.signature import parameters_of

_PLACES = {
    "loss": ("torch.nn",),
    "optimizer": ("torch.optim",),
    "schedule": ("torch.optim.lr_scheduler", "torch.optim.swa_utils"),
}
_KINDS: dict[str, type] = {
    "loss": nn.modules.loss._Loss,
    "optimizer": torch.optim.Optimizer,
    "schedule": torch.optim.lr_scheduler.LRScheduler,
}
_OLD = ("size_average", "reduce")  # arguments that are part of `reduction` since torch 0.4
TENSORS = ("weight", "pos_weight")  # arguments of losses that are tensors, kept as lists
_MOST_NUMBERS = 10_000  # of a tensor that is kept in config.json


def name_of(what: str, given: Any) -> dict[str, Any] | None:
    """The settings that make `given` again: its `.name` and `.options`; None if nothing plain does.

    `what` is "loss", "optimizer" or "schedule"; `given` a class, a partial of one, or a loss.
    """
    is_made = what == "loss" and isinstance(given, nn.Module)
    kind = given.func if isinstance(given, partial) else type(given) if is_made else given
    path = _path_of(what, kind)
    if not path or (isinstance(given, partial) and given.args):
        return None
    options = dict(given.keywords) if isinstance(given, partial) else {}
    if is_made and (found := _arguments_of(given)) is not None:
        options = found
    elif is_made:
        return None
    is_zero = what == "optimizer" and options.get("lr") == 0  # a setting of 0 means the default
    if is_zero or not all(map(_is_plain, options.values())):
        return None
    return {f"{what}.name": path} | ({f"{what}.options": options} if options else {})


def with_tensors(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a loss of torch's, with tensors where they were lists of numbers."""
    return {
        key: torch.tensor(value) if key in TENSORS and isinstance(value, (list, tuple)) else value
        for key, value in options.items()
    }


def is_loss_of_torch(kind: Any) -> bool:
    """Whether a class is one of torch.nn's losses."""
    return bool(_path_of("loss", kind))


def _path_of(what: str, kind: Any) -> str:
    """`torch.nn:CrossEntropyLoss`; empty for what is not a class of torch's own."""
    if not inspect.isclass(kind) or not issubclass(kind, _KINDS[what]):
        return ""
    name: str = kind.__name__
    found = (p for p in _PLACES[what] if getattr(sys.modules.get(p), name, None) is kind)
    place = next(found, "")
    return f"{place}:{name}" if place else ""


def _arguments_of(loss: nn.Module) -> dict[str, Any] | None:
    """What a loss of torch's was made with, its defaults left out; None if it was changed since."""
    kind = type(loss)
    found: dict[str, Any] = {}
    for parameter in parameters_of(kind) or ():
        if parameter.name in _OLD:
            continue
        value = getattr(loss, parameter.name, parameter.default)
        if isinstance(value, Tensor):
            if value.dtype != torch.float32 or value.numel() > _MOST_NUMBERS or not value.ndim:
                return None
            value = value.tolist()
        if value is not parameter.default and value != parameter.default:
            found[parameter.name] = value
    try:
        again = kind(**with_tensors(found))
    except Exception:  # not one that its attributes describe
        return None
    return found if _is_same(loss, again) else None


def _is_same(loss: nn.Module, again: nn.Module) -> bool:
    """Whether two modules have equal attributes, buffers and hooks."""
    own, other = _contents(loss), _contents(again)
    tensors, others = dict(loss.named_buffers()), dict(again.named_buffers())
    return (
        own == other
        and not any(True for _ in loss.parameters())
        and tensors.keys() == others.keys()
        and all(torch.equal(tensor.cpu(), others[name]) for name, tensor in tensors.items())
    )


def _contents(module: nn.Module) -> dict[str, Any]:
    return {key: value for key, value in vars(module).items() if key != "_buffers"}


def _is_plain(value: Any) -> bool:
    """Whether JSON gives the value back, a tuple as a list."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)
