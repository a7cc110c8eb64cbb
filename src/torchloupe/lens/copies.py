"""Copies of models, those included that keep activations in their attributes, and those whose hooks
and lambdas refer to the model.
"""

import copy
import pickle
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import IOBase
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer

from torchloupe.errors import UsageError, printable
from torchloupe.lens.watch import tensors_in

Kind = TypeVar("Kind")
_PLAIN = (int, float, bool, str, type(None))
_SHARED = (ModuleType, IOBase, type(threading.Lock()), type(threading.RLock()))


def copy_model(model: nn.Module) -> nn.Module:
    """A deep copy of `model`.

    Tensors in its attributes that a forward left there, with their graph, are copied without it:
    `copy.deepcopy` refuses them. UsageError for a model that holds what can't be copied, such as a
    generator.
    """
    try:
        return deep_copy(model, model)
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
                copy.deepcopy(value, _without_graphs(module) | _shared(module))
            except (TypeError, pickle.PicklingError):
                return f" ({printable('.'.join(filter(None, (place, name))), 80)})"
    return ""


def deep_copy(value: Kind, model: nn.Module) -> Kind:
    """A deep copy of `value`, which is or holds `model`, with functions that refer to the copy.

    `copy.deepcopy` leaves functions as they are: a hook or a lambda that was made inside a function
    (a closure) would use the original's layers, and what it counts and fills. Locks, open files
    and imported modules among the attributes are shared. Raises what `copy.deepcopy` raises.
    """
    memo = _without_graphs(model) | _shared(model)
    made: dict[int, tuple[FunctionType, FunctionType]] = {}  # id: function, its copy
    owned = {id(module) for module in model.modules()}
    owned |= {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    for module in model.modules():
        owned |= {id(each) for each in vars(module).values() if isinstance(each, (dict, list))}
    seen: set[int] = set()
    parts: tuple[Any, ...] = value if isinstance(value, tuple) else ()
    beside = [each for each in parts if isinstance(each, nn.Module) and each is not model]
    for root in (model, *beside):
        for key, held in (item for module in root.modules() for item in vars(module).items()):
            counts = root is not model or key.endswith("_hooks")
            for function in _functions_in(held):
                _note_function(function, owned, made, seen, counts=counts)
    for function in _functions_in([each for each in parts if not isinstance(each, nn.Module)]):
        _note_function(function, owned, made, seen, counts=True)  # a loss
    memo |= {key: new for key, (_, new) in made.items()}
    optimizers = [each for each in parts if isinstance(each, Optimizer)]
    with _steps_as_written(optimizers):
        copied = copy.deepcopy(value, memo)
        for optimizer in optimizers:
            _copy_attributes(optimizer, memo)
    _fill(made, memo, owned)
    return copied


@contextmanager
def _steps_as_written(optimizers: list[Optimizer]) -> Iterator[None]:
    """A context after which `step` of these classes is what it was.

    torch wraps it when an optimizer is copied: one whose class doesn't call super().__init__()
    has nothing that the wrapper needs, and could not step any more.
    """
    before = [(kind, vars(kind).get("step")) for kind in {type(each) for each in optimizers}]
    yield
    for kind, step in before:
        if step is not None:
            kind.step = step  # type: ignore[method-assign]
        elif "step" in vars(kind):
            del kind.step


def _copy_attributes(optimizer: Optimizer, memo: dict[int, Any]) -> None:
    """Give the copy of `optimizer` the attributes of a class of one's own, which torch leaves out:
    the optimizer within it, counters.
    """
    copied = memo[id(optimizer)]
    for key, value in vars(optimizer).items():
        if key not in vars(copied):
            setattr(copied, key, copy.deepcopy(value, memo))


def _names_in(code: CodeType) -> Iterator[str]:
    """The names that a function, and those inside it, look up outside."""
    yield from code.co_names
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _names_in(each)


def _is_owned(function: FunctionType, name: str, owned: set[int]) -> bool:
    """Whether a name is the model's, or a part of it, in the script that the function is from."""
    return id(function.__globals__.get(name)) in owned


def _functions_in(value: Any) -> Iterator[FunctionType]:
    if isinstance(value, FunctionType):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _functions_in(each)


def _note_function(
    function: FunctionType,
    owned: set[int],
    made: dict[int, tuple[FunctionType, FunctionType]],
    seen: set[int],
    *,
    counts: bool = False,
) -> bool:
    """Whether the function, or one that it uses, refers to what is `owned`, and has a copy now.

    One that `counts`, a hook or a loss, has one too if it refers to numbers, which it may change.
    """
    if id(function) in seen:
        return id(function) in made
    seen.add(id(function))
    cells = function.__closure__ or ()
    try:
        used = [cell.cell_contents for cell in cells]
    except ValueError:  # a cell that was never filled
        return False
    used += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    outside = [name for name in _names_in(function.__code__) if _is_owned(function, name, owned)]
    refers = any(id(each) in owned or _is_store(each, numbers=counts) for each in used)
    refers |= bool(outside) or (counts and any(type(each) in _PLAIN for each in used))
    inner = [each for each in used if isinstance(each, FunctionType)]
    if not any(
        [*(_note_function(each, owned, made, seen, counts=counts) for each in inner), refers]
    ):
        return False
    new = FunctionType(
        function.__code__,
        dict(function.__globals__) if outside else function.__globals__,
        function.__name__,
        closure=tuple(CellType() for _ in cells),
    )
    new.__dict__.update(function.__dict__)
    made[id(function)] = (function, new)
    return True


def _copy_of(value: Any, memo: dict[int, Any]) -> Any:
    """What a copied function refers to in place of `value`."""
    if id(value) in memo:
        return memo[id(value)]
    if not _is_store(value):
        return value
    memo |= _detached(value)
    return copy.deepcopy(value, memo)


def _is_store(value: Any, *, numbers: bool = True) -> bool:
    """Whether this is a list or dict of tensors, layers and numbers, or one to be filled."""
    if not isinstance(value, (dict, list)):
        return False
    return all(
        isinstance(each, (Tensor, nn.Module)) or (numbers and type(each) in _PLAIN)
        for each in (value.values() if isinstance(value, dict) else value)
    )


def _shared(model: nn.Module) -> dict[int, Any]:
    return {
        id(value): value
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, _SHARED)
    }


def _without_graphs(model: nn.Module) -> dict[int, Any]:
    """What `copy.deepcopy` is to use in place of tensors with a graph, as its memo."""
    apart = ("_parameters", "_buffers", "_modules")
    memo: dict[int, Any] = {}
    for module in model.modules():
        memo |= _detached([value for key, value in vars(module).items() if key not in apart])
    return memo


def _detached(value: Any) -> dict[int, Any]:
    """Copies without a graph of the tensors in `value` that have one, by the id of the tensor."""
    return {id(t): t.detach().clone() for t in tensors_in(value) if t.grad_fn is not None}


def copy_hook(hook: Any) -> Any:
    """A hook with numbers, lists and dicts of its own: what it counts is not counted twice."""
    if not isinstance(hook, FunctionType) or not hook.__closure__:
        return hook
    made: dict[int, tuple[FunctionType, FunctionType]] = {}
    if not _note_function(hook, set(), made, set(), counts=True):
        return hook
    memo = {key: new for key, (_, new) in made.items()}
    _fill(made, memo, set())
    return memo[id(hook)]


def _fill(
    made: Mapping[int, tuple[FunctionType, FunctionType]], memo: dict[int, Any], owned: set[int]
) -> None:
    """Give copied functions what they refer to, also by the names in their script."""
    for old, new in made.values():
        for cell, new_cell in zip(old.__closure__ or (), new.__closure__ or (), strict=True):
            new_cell.cell_contents = _copy_of(cell.cell_contents, memo)
        new.__defaults__ = tuple(_copy_of(each, memo) for each in old.__defaults__ or ()) or None
        defaults = {name: _copy_of(each, memo) for name, each in (old.__kwdefaults__ or {}).items()}
        new.__kwdefaults__ = defaults or None
        for name in _names_in(old.__code__) if new.__globals__ is not old.__globals__ else ():
            if _is_owned(old, name, owned):
                new.__globals__[name] = _copy_of(old.__globals__[name], memo)
