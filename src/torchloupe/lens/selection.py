"""Which layers are meant: by name, pattern, type or the module itself.

Names are those of the model as its author wrote it: what DataParallel and
DistributedDataParallel put in front of them (`module.`) is left out.
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

import torch
from torch import nn

from torchloupe.errors import UsageError, did_you_mean, printable

Which = str | type[nn.Module] | nn.Module | Iterable[str | type[nn.Module] | nn.Module]


def plain_model(model: nn.Module) -> nn.Module:
    """The model inside DataParallel, DistributedDataParallel or torch.compile's wrapping."""
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    inner = getattr(model, "module" if isinstance(model, parallel) else "_orig_mod", None)
    return plain_model(inner) if isinstance(inner, nn.Module) else model


def is_compiled(module: nn.Module) -> bool:
    """Whether torch.compile, or `module.compile()`, runs it as one graph."""
    # By name: importing torch._dynamo for its class takes a second.
    return (
        type(module).__name__ == "OptimizedModule"
        or getattr(module, "_compiled_call_impl", None) is not None
    )


def select_layers(model: nn.Module, which: Which) -> dict[str, nn.Module]:
    """The layers of `model` that `which` means, by name, in the order of `named_modules`.

    `which` is a pattern such as `"conv*|fc1"`, a type, a module of the model, or several of
    these. `|` separates patterns and `*` matches dots too; a pattern is compared with a layer's
    name and with the name of its type (`"Conv2d"`). The model itself, whose name is "", is
    meant only by its type, its type's whole name, or itself.

    Raises UsageError, with near misses, for anything that means no layer.
    """
    inner = plain_model(model)
    named = dict(inner.named_modules())
    items = [which] if isinstance(which, (str, type, nn.Module)) else list(which)
    wishes: list[str | type[nn.Module] | nn.Module] = []
    for item in items:
        wishes += [part.strip() for part in item.split("|")] if isinstance(item, str) else [item]
    found: set[str] = set()
    for wish in wishes:
        meant = {name for name, layer in named.items() if _is_meant(name, layer, wish, inner)}
        if not meant:
            raise _refuse(wish, named)
        found |= meant
    if not wishes:
        raise _refuse("", named)
    return {name: layer for name, layer in named.items() if name in found}


def closed_around(model: nn.Module, layer: str) -> str | None:
    """The name of the compiled or scripted part that `layer` runs in ("" for the whole model).

    There a hook is either never called, or built into the graph and called for ever after.
    """
    if is_compiled(model) or is_compiled(getattr(model, "module", model)):
        return ""
    part = plain_model(model)
    if _is_closed(part):
        return ""
    names = layer.split(".") if layer else []
    for depth, name in enumerate(names, 1):
        part = part.get_submodule(name)
        if _is_closed(part):
            return ".".join(names[:depth])
    return None


def refuse_closed(model: nn.Module, layers: Iterable[str]) -> None:
    """UsageError if a layer of these names runs in a compiled or scripted graph."""
    for layer in layers:
        outer = closed_around(model, layer)
        if outer is None:
            continue
        part = plain_model(model).get_submodule(outer)
        scripted = isinstance(part, torch.jit.ScriptModule)
        raise UsageError(
            f"a lens can't look at {printable(layer) or 'the model'}: "
            f"{printable(outer) or 'the model'} is {'scripted' if scripted else 'compiled'}, and "
            "inside its graph no hook is called",
            "watch the model that was given to torch.jit"
            if scripted
            else "watch the model before torch.compile, or its twin model._orig_mod, which has "
            "the same weights",
        )


def _is_closed(module: nn.Module) -> bool:
    return is_compiled(module) or isinstance(module, torch.jit.ScriptModule)


def _is_meant(
    name: str, layer: nn.Module, wish: str | type[nn.Module] | nn.Module, model: nn.Module
) -> bool:
    if isinstance(wish, str):
        kind = type(layer).__name__
        if layer is model:
            return wish == kind
        return fnmatchcase(name, wish) or fnmatchcase(kind, wish)
    if isinstance(wish, type):
        return isinstance(layer, wish)
    return layer is plain_model(wish)


def _refuse(wish: str | type[nn.Module] | nn.Module, named: dict[str, nn.Module]) -> UsageError:
    names = [name for name in named if name]
    kinds = {type(layer).__name__ for layer in named.values()}
    some = ", ".join(printable(name, 60) for name in names[:8]) or "none"
    known = f"the layers are {some}" + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    if isinstance(wish, nn.Module):
        return UsageError(f"this {type(wish).__name__} is not a layer of the model", known)
    word = wish if isinstance(wish, str) else wish.__name__
    what = f"no layer matches {printable(word)!r}"
    if isinstance(wish, type):
        what = f"the model has no layer of type {printable(word)}"
    bare = re.sub(r"[*?\[\]!]", "", word)
    return UsageError(what, did_you_mean(bare, {*names, *kinds}, otherwise=known))
