"""Layers and tensors that a model uses without having registered them.

torch trains, moves and saves what is registered in a module. It does none of this for a layer in
a plain list or dict, a layer created in forward, or a tensor that is no parameter.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.module import register_module_forward_pre_hook

DEEPEST = 6  # containers within containers that are searched for a name
_OWN = {"_parameters", "_buffers", "_modules"}


@dataclass(frozen=True)
class Attribute:
    """The place of something in a model: `features.layers[0]`, in the plain `list` there."""

    name: str  # empty if it was not found
    holder: str = ""  # name of the attribute of the module that leads to it
    kind: str = ""  # type of that attribute: list, dict, Tensor, ...


class Calls:
    """The modules that were called and are not part of a model."""

    def __init__(self) -> None:
        self.modules: list[nn.Module] = []


@contextmanager
def recording_strangers(model: nn.Module) -> Iterator[Calls]:
    """A context in which each module that is called and doesn't belong to `model` is kept, once."""
    own = set(model.modules())
    found = Calls()

    def look(module: nn.Module, _inputs: Any) -> None:
        if module not in own and not any(module is known for known in found.modules):
            found.modules.append(module)

    handle = register_module_forward_pre_hook(look)
    try:
        yield found
    finally:
        handle.remove()


def stateful_strangers(model: nn.Module, strangers: list[nn.Module]) -> list[nn.Module]:
    """Those of `strangers` that should be parts of `model`: with weights or buffers that `model`
    doesn't have, or dropout, which eval mode doesn't reach.
    """
    own = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    return [
        module
        for module in strangers
        if any(id(t) not in own for t in (*module.parameters(), *module.buffers()))
        or isinstance(module, _DropoutNd)
    ]


def find_attribute(model: nn.Module, wanted: object) -> Attribute:
    """Where `wanted`, a module or tensor, stands in the plain attributes of `model`'s modules."""
    for prefix, module in model.named_modules():
        for key, value in vars(module).items():
            if key in _OWN or key.endswith(("_hooks", "_hooks_with_kwargs")):
                continue
            path = _path_to(value, wanted, DEEPEST, set())
            if path is not None:
                holder = f"{prefix}.{key}" if prefix else key
                return Attribute(holder + path, holder, type(value).__name__)
    return Attribute("")


def plain_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Tensors that stand directly in the attributes of modules and are not registered, by name."""
    for prefix, module in model.named_modules():
        for key, value in vars(module).items():
            if isinstance(value, Tensor):
                yield (f"{prefix}.{key}" if prefix else key), value


def _path_to(value: Any, wanted: object, depth: int, seen: set[int]) -> str | None:
    """How `wanted` is reached from `value`, as it would be written behind it; None if not."""
    if value is wanted:
        return ""
    if depth == 0 or id(value) in seen or isinstance(value, (Tensor, str, bytes, int, float)):
        return None
    seen.add(id(value))
    for step, inner in _parts_of(value):
        path = _path_to(inner, wanted, depth - 1, seen)
        if path is not None:
            return step + path
    return None


def _parts_of(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, nn.Module):
        named = (*value.named_parameters(), *value.named_buffers(), *value.named_modules())
        yield from ((f".{name}", part) for name, part in named if name)
    if isinstance(value, Mapping):
        yield from ((f"[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, (list, tuple, deque, set, frozenset)):
        yield from ((f"[{place}]", part) for place, part in enumerate(value))
    elif callable(value) and getattr(value, "__closure__", None):
        yield from (("()", cell.cell_contents) for cell in value.__closure__ if _is_full(cell))
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        yield from ((f".{key}", part) for key, part in vars(value).items() if key not in _OWN)


def _is_full(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
