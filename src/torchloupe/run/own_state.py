"""What a model and a loss keep for themselves: attributes that change in training, buffers that no
state dict has, and the numbers that their code draws from `random` and `numpy.random`.

A checkpoint holds what differs from how the run began, so that of most models it holds nothing.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from torchloupe.distributed.world import ALONE, World
from torchloupe.errors import CheckpointError, printable
from torchloupe.run.plain_values import NotPlain, decode, encode
from torchloupe.system.counter_rng import hash_parts
from torchloupe.system.generators import give_state, global_generators, state_of
from torchloupe.system.seeding import seed_shared

_OF_TORCH = frozenset((*vars(nn.Module()), "_compiled_call_impl", "_is_full_backward_hook"))
_OF_CODE = (type, ModuleType, FunctionType, MethodType)
_DEEPEST = 4  # containers in one another whose changes are seen
_DRAWN = 0x5A3D  # tells the seeds of random and numpy.random apart from all others
Place = tuple[str, str, str]  # "model" or "loss", the module in it, the attribute


@dataclass(frozen=True, eq=False)
class Reference:
    """A value that can't be stored, told apart by what it is and how often it was changed."""

    value: Any
    is_left_over: bool = False
    version: Any = None

    def __eq__(self, other: object) -> bool:
        is_same = isinstance(other, Reference) and other.value is self.value
        return is_same and other.version == self.version  # type: ignore[attr-defined]

    __hash__ = None  # type: ignore[assignment]


class OwnState:
    """The own state of the model and the loss of a run, and how it differs from the beginning."""

    def __init__(self, model: nn.Module, loss: object = None, world: World = ALONE) -> None:
        self.model, self.loss, self.world = model, loss, world
        self.lost: list[str] = []  # notes on what a checkpoint had that could not be put back
        self._kept: set[Place] = set()  # what a checkpoint has, for good
        self._told: set[Place] = set()
        self._first = look(model, loss)
        self._drawn: list[Any] = []  # the states of `random` and `numpy.random` at the beginning
        self._resumed: list[Any] = []  # those of each rank in the checkpoint

    def begin(self, seed: int) -> None:
        """Seed `random` and `numpy.random` for the run, or go on with what a checkpoint had."""
        rank = self.world.rank
        seed_shared(int(hash_parts(seed, _DRAWN, rank)))
        self._drawn = [encode(state_of(each)) for each in global_generators()]
        resumed = self._resumed[rank] if rank < len(self._resumed) else None
        for generator, state in zip(global_generators(), resumed or (), strict=False):
            give_state(generator, decode(state, None, torch.device("cpu")))

    def tree(self) -> dict[str, Any] | None:
        """What a checkpoint has to hold, as plain values; None for nothing. Every rank must call
        this.
        """
        tree: dict[str, Any] = {}
        for place, value in look(self.model, self.loss).items():
            if isinstance(value, Reference):
                continue
            if place in self._kept or place not in self._first or self._first[place] != value:
                self._kept.add(place)
                root, module, name = place
                tree.setdefault(root, {}).setdefault(module, {})[name] = value
        states = [encode(state_of(each)) for each in global_generators()] if self._drawn else []
        drawn = self.world.gather(None if states == self._drawn else states)
        if any(drawn):
            tree["drawn"] = drawn
        return tree or None

    def load(self, tree: Mapping[str, Any]) -> None:
        """Take over what `tree` gave; CheckpointError where it holds what this can't read."""
        held = {(root, module): held for root, module, held in _holders(self.model, self.loss)}
        try:
            for root in ("model", "loss"):
                for module, values in tree.get(root, {}).items():
                    for name, code in values.items():
                        self._kept.add((root, module, name))
                        holder = held.get((root, module))
                        if holder is None or not _put(holder, name, code, _device_of(self.model)):
                            self.lost.append(
                                f"{_spell((root, module, name))} has no place in the model or loss "
                                "that was given: it does not go on from where it was"
                            )
            self._resumed = list(tree.get("drawn", ()))
        except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                "the attributes of the model or loss in the checkpoint can't be read "
                f"({type(error).__name__}: {printable(error)})",
                "use the torchloupe version that wrote it",
            ) from None

    def unsaved(self) -> list[str]:
        """A note on each attribute that has changed and that no checkpoint can hold, told once."""
        notes = []
        for place, value in look(self.model, self.loss).items():
            is_known = place in self._told or self._first.get(place) == value
            if is_known or not isinstance(value, Reference) or value.is_left_over:
                continue
            self._told.add(place)
            notes.append(
                f"{_spell(place)} ({type(value.value).__name__}) changes in training and is not "
                "saved: a resumed run goes on from its initial value; make it a buffer, a number "
                "or a list of numbers"
            )
        return notes


@contextmanager
def left_alone(model: nn.Module, loss: object = None) -> Iterator[None]:
    """A context after which the own state is as before, and in which no gradient hooks are called.

    For trials of a model that is trained later: a counter in its forward must not see them. A
    model whose layers are other ones afterwards, as it made them in its first forward, stays so.
    """
    before, made = look(model, loss), _structure_of(model)
    objects = {
        (root, module, name): value
        for root, module, holder in _holders(model, loss)
        for name, value in _values_of(holder, root)
    }
    hooks = [(store, dict(store)) for store in _gradient_hooks(model)]
    for store, _ in hooks:
        store.clear()
    try:
        yield
    finally:
        for store, content in hooks:
            store.update(content)
        if _structure_of(model) == made:
            _restore(model, loss, before, objects)


def look(model: nn.Module, loss: object = None) -> dict[Place, Any]:
    """Each attribute and where it stands: as JSON, or a Reference where it can't be stored.

    The buffers of the loss are among them, of those of the model what its state dict lacks.
    """
    found: dict[Place, Any] = {}
    holders = list(_holders(model, loss))
    own = {id(holder): _spell((root, name, "")) for root, name, holder in holders}
    for root, module, holder in holders:
        for name, value in _values_of(holder, root):
            try:
                found[root, module, name] = encode(value, own)
            except NotPlain as error:
                version = _version_of(value, own, 0)
                found[root, module, name] = Reference(value, error.is_left_over, version)
    return found


def _version_of(value: Any, own: Mapping[int, str], depth: int) -> Any:
    """How often tensors in a value were written to, the numbers beside them, how far iterators are.

    Modules that are a part of the model or loss, `own`, are looked at by themselves.
    """
    if isinstance(value, Tensor):
        return None if value.is_inference() else value._version
    if depth > _DEEPEST or id(value) in own:
        return None
    inside: Any = ()
    if isinstance(value, nn.Module):
        inside = [*value.parameters(), *value.buffers()]
        inside += [vars(module) for module in value.modules() if id(module) not in own]
    elif isinstance(value, partial):
        inside = (*value.args, *value.keywords.values())
    elif isinstance(value, dict):
        inside = list(value.values())
    elif isinstance(value, (list, tuple)):
        inside = value
    elif type(value) in (int, float, str, bool):
        return value
    elif isinstance(value, Iterator):
        inside = _state_of(value)
    elif isinstance(getattr(value, "__dict__", None), dict) and not isinstance(value, _OF_CODE):
        inside = list(vars(value).values())
    return tuple(_version_of(each, own, depth + 1) for each in inside)


def _state_of(iterator: Iterator[Any]) -> Any:
    """What tells how far an iterator is: `list_iterator`, `itertools.count`, `enumerate`."""
    with warnings.catch_warnings(), suppress(Exception):
        warnings.simplefilter("ignore")  # newer versions of Python don't copy those of itertools
        return iterator.__reduce__()[1:]
    return (repr(iterator),)


def _holders(model: nn.Module, loss: object) -> Iterator[tuple[str, str, Any]]:
    """Each module of the model and of the loss, with its place; a loss that is none as it is.

    What is of this package keeps nothing for itself.
    """
    for root, value in (("model", model), ("loss", _owner_of(getattr(loss, "criterion", loss)))):
        if type(value).__module__.startswith("torchloupe."):
            continue
        if isinstance(value, FunctionType) and value.__closure__:
            yield root, "closure", _Closure(value)
        if not isinstance(value, nn.Module):
            if isinstance(getattr(value, "__dict__", None), dict):
                yield root, "", value
            continue
        for name, module in value.named_modules():
            if not isinstance(module, torch.jit.ScriptModule):
                yield root, name, module


def _owner_of(loss: Any) -> Any:
    """The function that a partial calls, or the object whose method it is."""
    while isinstance(loss, partial):
        loss = loss.func
    return loss.__self__ if isinstance(loss, MethodType) else loss


class _Closure:
    """The variables of a function that are not its own, as a dict."""

    def __init__(self, function: FunctionType) -> None:
        self._cells = dict(
            zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        )

    def items(self) -> Iterator[tuple[str, Any]]:
        for name, cell in self._cells.items():
            with suppress(ValueError):  # of a cell that was never filled
                yield name, cell.cell_contents

    def get(self, name: str) -> Any:
        return dict(self.items()).get(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._cells[name].cell_contents = value

    def pop(self, name: str, _default: object = None) -> None:
        """Nothing: a function has the variables that it has."""


def _attributes_of(holder: Any) -> Any:
    return holder if isinstance(holder, _Closure) else vars(holder)


def _values_of(holder: Any, root: str) -> Iterator[tuple[str, Any]]:
    is_module = isinstance(holder, nn.Module)
    for name, value in list(_attributes_of(holder).items()):
        if not (is_module and name in _OF_TORCH):
            yield name, value
    if is_module:
        for name, buffer in holder._buffers.items():
            wanted = root == "loss" or name in holder._non_persistent_buffers_set
            if wanted and buffer is not None and not is_lazy(buffer):
                yield name, buffer


def _put(holder: Any, name: str, code: Any, device: torch.device) -> bool:
    """Give `holder` the value of an attribute; False where an object for it is missing."""
    buffers = holder._buffers if isinstance(holder, nn.Module) else {}
    store = buffers if name in buffers else _attributes_of(holder)
    now = store.get(name)
    try:
        value = decode(code, now, device)
    except NotPlain:
        return False
    if value is not now:
        store[name] = value
    return True


def _restore(
    model: nn.Module, loss: object, before: Mapping[Place, Any], objects: Mapping[Place, Any]
) -> None:
    """Put the `objects` back that were there `before`, and what they held into them.

    What took their place is not written to: it may be a weight, or a list of something else.
    """
    for root, module, holder in _holders(model, loss):
        buffers = holder._buffers if isinstance(holder, nn.Module) else {}
        for name, value in list(_values_of(holder, root)):
            old = objects.get((root, module, name), value)
            if old is not value:
                (buffers if name in buffers else _attributes_of(holder))[name] = old
    now = look(model, loss)
    for root, module, holder in _holders(model, loss):
        buffers = holder._buffers if isinstance(holder, nn.Module) else {}
        names = {name for name, _ in _values_of(holder, root)}
        for name in names - {place[2] for place in before if place[:2] == (root, module)}:
            _attributes_of(holder).pop(name, None)  # left by a forward
        for place, value in before.items():
            if place[:2] != (root, module) or now.get(place) == value:
                continue
            if place[2] not in names:  # taken away by a forward
                _attributes_of(holder)[place[2]] = objects[place]
            if not isinstance(value, Reference):
                _put(holder, place[2], value, _device_of(model))


def _structure_of(model: nn.Module) -> list[tuple[int, list[str], list[str]]]:
    return [
        (id(module), list(module._parameters), list(module._buffers)) for module in model.modules()
    ]


def _gradient_hooks(model: nn.Module) -> Iterator[dict[Any, Any]]:
    """The stores of all hooks that a backward calls: those of parameters and of modules."""
    for parameter in model.parameters():
        yield from (
            store
            for store in (parameter._backward_hooks, parameter._post_accumulate_grad_hooks)
            if store
        )
    for module in model.modules():
        yield from (s for s in (module._backward_hooks, module._backward_pre_hooks) if s)


def _device_of(model: nn.Module) -> torch.device:
    tensor: Tensor | None = next(model.parameters(), None)
    return torch.device("cpu") if tensor is None else tensor.device


def _spell(place: Place) -> str:
    root, module, name = place
    owner = "loss" if root == "loss" else "model"
    return f"{printable('.'.join(filter(None, (owner, module, name))), 100)}"
