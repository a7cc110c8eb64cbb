"""Pickles that hold plain arrays, numbers and texts, read without running what they name.

A pickle names functions to call. Here each of the few names that numpy's arrays need stands for
a function of this module that makes an array from bytes; every other name is refused.
"""

import math
import pickle
import re
from collections.abc import Callable
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

_KIND = re.compile(r"(b1|[iuf][1248]|[SU]\d{1,6})")


class PickleRefused(ValueError):  # noqa: N818 - says what happened
    """A pickle that holds something else than plain arrays, numbers and texts."""


def read_plain_pickle(file: IO[bytes]) -> Any:
    """The dicts, lists, texts (bytes where Python 2 wrote them), numbers and arrays in a pickle.

    PickleRefused for any other object, and for a damaged file.
    """
    try:
        return _plain(_Reader(file, encoding="bytes").load())
    except PickleRefused:
        raise
    except Exception as error:  # over damaged files pickle raises nearly every type there is
        raise PickleRefused(f"it is damaged: {error}") from None


class _Function:
    """Stands for a function or class that a pickle names; can be called and nothing else."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: Any) -> NoReturn:
        raise PickleRefused("it changes a function")


class _Kind:
    """A numpy dtype in the making."""

    __slots__ = ("name", "order")

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = _text(name)
        self.order = "<"
        if not _KIND.fullmatch(self.name):
            raise PickleRefused(f"it holds an array of type {self.name[:20]}")

    def __setstate__(self, state: Any) -> None:
        self.order = _text(state[1])

    def dtype(self) -> np.dtype[Any]:
        if self.order not in ("<", ">", "|", "="):
            raise PickleRefused("it holds an array of unknown byte order")
        return np.dtype(self.order.replace("|", "") + self.name)


class _Array:
    """A numpy array in the making."""

    __slots__ = ("value",)

    def __init__(self, *_: Any) -> None:
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, is_fortran, raw = state
        self.value = _make_array(raw, kind, shape, is_fortran)


def _make_array(raw: Any, kind: Any, shape: Any, is_fortran: Any) -> NDArray[Any]:
    if not isinstance(raw, (bytes, bytearray)) or not isinstance(kind, _Kind):
        raise PickleRefused("it holds an array of objects")
    dtype, sides = kind.dtype(), tuple(int(side) for side in shape)
    if min(sides, default=0) < 0 or math.prod(sides) * dtype.itemsize != len(raw):
        raise PickleRefused("it holds an array whose size is not that of its values")
    return np.frombuffer(raw, dtype).reshape(sides, order="F" if is_fortran else "C")


def _from_buffer(raw: Any, kind: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.value = _make_array(raw, kind, shape, _text(order) == "F")
    return array


def _scalar(kind: Any, raw: Any) -> Any:
    return _make_array(raw, kind, (), False)[()]


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or _text(encoding) not in ("latin1", "latin-1"):
        raise PickleRefused("it encodes text")
    return text.encode("latin-1")


def _refuse(*_: Any) -> NoReturn:
    raise PickleRefused("it makes an array without values")


_KNOWN: dict[str, Callable[..., Any]] = {
    "_reconstruct": _Array,
    "_frombuffer": _from_buffer,
    "scalar": _scalar,
    "dtype": _Kind,
    "ndarray": _refuse,
    "encode": _encode,
}
_MODULES = (
    *("numpy", "_codecs", "numpy.core.multiarray", "numpy.core.numeric"),
    *("numpy._core.multiarray", "numpy._core.numeric"),
)


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module not in _MODULES or name not in _KNOWN:
            raise PickleRefused(f"it names {module}.{name}, which could run code"[:200])
        return _Function(_KNOWN[name])

    def persistent_load(self, _: Any) -> NoReturn:
        raise PickleRefused("it refers to something outside")


def _plain(value: Any) -> Any:
    """What was read, with finished arrays; only dicts and lists are looked into."""
    if isinstance(value, _Array):
        if value.value is None:
            raise PickleRefused("it holds an array without values")
        return value.value
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)) and any(isinstance(inner, _Array) for inner in value):
        return [_plain(inner) for inner in value]
    if isinstance(value, (_Function, _Kind)):
        raise PickleRefused("it holds a function")
    return value


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
