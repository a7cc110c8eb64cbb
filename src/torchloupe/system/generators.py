"""Random generators that other people's objects keep for themselves, found so they can be seeded.

Seeding torch, numpy and random does not reach a generator that a transform holds, as those of
albumentations do. They are looked for in attributes, containers, closures and, of the user's own
code, in the globals that it uses. Nothing is called and nothing is changed by the search.
"""

import functools
import random
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

from torchloupe.system.counter_rng import hash_parts

_LOOKED_AT = 20_000  # objects at most
_OF_CONTAINER = 64  # elements of a list or dict, which may be as long as the data
_LEAVES = (str, bytes, int, float, complex, type, type(None), np.ndarray, torch.Tensor)
_INSTALLED = tuple(
    str(Path(sysconfig.get_path(kind)).resolve()) for kind in ("purelib", "platlib", "stdlib")
)
_PLAIN_LIBRARIES = frozenset(
    ("torch", "torchvision", "numpy", "PIL", "datasets", "pandas", "pyarrow", "torchloupe")
)


@dataclass(frozen=True, eq=False)
class OwnGenerators:
    """Generators that belong to objects, and the libraries these come from."""

    generators: tuple[Any, ...] = ()
    libraries: tuple[str, ...] = ()  # other than torch, torchvision, numpy and the like

    def __bool__(self) -> bool:
        return bool(self.generators)

    def seed(self, seed: int) -> None:
        """Seed each of them, every one differently."""
        for number, generator in enumerate(self.generators):
            _seed(generator, int(hash_parts(seed & 0x7FFFFFFFFFFFFFFF, 0x06E4, number)))

    def states(self) -> list[Any]:
        """The state of each, to be put back by `restore`."""
        return [state_of(generator) for generator in self.generators]

    def restore(self, states: list[Any]) -> None:
        """Put back what `states` gave."""
        for generator, state in zip(self.generators, states, strict=True):
            give_state(generator, state)


NO_GENERATORS = OwnGenerators()


def find_generators(*roots: object) -> OwnGenerators:
    """The generators within these objects, but for the global ones."""
    known = {id(g) for g in (torch.default_generator, *global_generators())}
    found: list[Any] = []
    libraries: dict[str, None] = {}
    pending, seen = list(reversed(roots)), set(known)
    kept = []  # what is made on the way stays alive, or another object could get its id
    while pending and len(seen) < _LOOKED_AT:
        value = pending.pop()
        if id(value) in seen or isinstance(value, _LEAVES):
            continue
        seen.add(id(value))
        kept.append(value)
        if isinstance(value, (np.random.Generator, np.random.RandomState, torch.Generator)) or (
            isinstance(value, random.Random) and not isinstance(value, random.SystemRandom)
        ):
            found.append(value)
            continue
        library = _library_of(value)
        if library:
            libraries[library] = None
        if not isinstance(value, ModuleType):
            pending += reversed(list(_inside(value)))
    return OwnGenerators(tuple(found), tuple(libraries))


def _inside(value: object) -> Iterator[object]:
    """What an object holds, without calling anything of it."""
    if isinstance(value, dict):
        yield from islice(dict.values(value), _OF_CONTAINER)
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from islice(value, _OF_CONTAINER)
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, FunctionType):
        yield from _inside_function(value)
    if isinstance(value, FunctionType):
        return
    attributes = getattr(value, "__dict__", None)
    yield from list(attributes.values()) if isinstance(attributes, dict) else ()
    for kind in type(value).__mro__:
        if is_own_code(kind.__module__):
            for held in list(vars(kind).values()):
                yield held.__func__ if isinstance(held, (staticmethod, classmethod)) else held


def _inside_function(function: FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    if is_own_code(function.__module__):
        for name in _names_used(function.__code__):
            if name in function.__globals__:
                yield function.__globals__[name]


def _names_used(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_used(constant)


def _library_of(value: object) -> str:
    """The installed library that a value's class comes from; "" for plain ones and own code."""
    named = value if isinstance(value, (ModuleType, FunctionType)) else type(value)
    name = str(getattr(named, "__module__" if named is not value else "__name__", "") or "")
    if isinstance(value, FunctionType):
        name = value.__module__ or ""
    top = name.partition(".")[0]
    if not top or top in _PLAIN_LIBRARIES or top in sys.stdlib_module_names or is_own_code(name):
        return ""
    return top


def is_own_code(module_name: str | None) -> bool:
    """Whether a module is the user's own, and not installed."""
    module = sys.modules.get(module_name or "")
    file = getattr(module, "__file__", None)
    if file is None:
        return module_name == "__main__"
    resolved = str(Path(file).resolve())
    is_installed = "site-packages" in resolved or resolved.startswith(_INSTALLED)
    return not is_installed and not (module_name or "").startswith("torchloupe.")


def global_generators() -> tuple[Any, ...]:
    """What `random` and `numpy.random` draw from."""
    instance = random.random.__self__  # type: ignore[attr-defined]
    return instance, np.random.mtrand._rand


def _seed(generator: Any, seed: int) -> None:
    if isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        bits.state = type(bits)(seed).state
    elif isinstance(generator, np.random.RandomState):
        generator.seed(seed & 0xFFFFFFFF)
    elif isinstance(generator, torch.Generator):
        generator.manual_seed(seed >> 1)
    else:
        generator.seed(seed)


def state_of(generator: Any) -> Any:
    """The state of a generator, as it is given back by `give_state`."""
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    if isinstance(generator, (np.random.RandomState, torch.Generator)):
        return generator.get_state()
    return generator.getstate()


def give_state(generator: Any, state: Any) -> None:
    """Put a generator into a state that `state_of` gave."""
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, (np.random.RandomState, torch.Generator)):
        generator.set_state(state)
    else:
        generator.setstate(state)
