"""Values that a model or a loss keeps for itself, as JSON and back: numbers, texts, containers of
them, arrays, tensors, generators, and objects that hold such.

No code is stored and none is run: an object is only given back the attributes that it has.
"""

import base64
import random
from collections import deque
from collections.abc import Callable, Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchloupe.system.generators import give_state, state_of

MOST_BYTES = 4 * 2**20  # of an array or tensor
MOST_PARTS = 20_000  # of a value, all containers in it together
_DEEPEST = 6
_SIMPLE = (int, bool, str, type(None))
_ROWS: dict[str, type] = {"list": list, "tuple": tuple, "set": set, "deque": deque}
_NO_STATE = (nn.Module, type, ModuleType, FunctionType, MethodType)
Made = Callable[[], Any]


class NotPlain(Exception):  # noqa: N818
    """A value that can't be stored; `is_left_over`: tensors of a forward, with their graph."""

    def __init__(self, *, is_left_over: bool = False) -> None:
        super().__init__()
        self.is_left_over = is_left_over


def encode(value: Any, modules: Mapping[int, str] | None = None) -> Any:
    """`value` as JSON that is equal for equal values; raises NotPlain.

    Of `modules`, names by their id, only the name is kept: they are saved by themselves.
    """
    return _Encoder(modules or {}).encode(value, 0)


class _Encoder:
    """One value on its way to JSON, with what is left of the parts that it may have."""

    def __init__(self, modules: Mapping[int, str]) -> None:
        self._left = MOST_PARTS
        self._modules = modules

    def encode(self, value: Any, depth: int) -> Any:
        kind = type(value)
        self._left -= 1
        if self._left < 0 or depth > _DEEPEST:
            raise NotPlain
        if kind in _SIMPLE:
            if kind is str and value.startswith("tensor:"):  # which checkpoints have for tensors
                raise NotPlain
            return value
        if kind is float:
            return {"float": value.hex()}
        if isinstance(value, (Tensor, np.ndarray, np.generic)):
            return _encode_numbers(value)
        if kind is dict or kind is torch.Size or kind in _ROWS.values():
            return self._encode_row(value, depth)
        if isinstance(value, (dict, *_ROWS.values())):
            return self._encode_kin(value, depth)
        return self._encode_held(value, depth)

    def _encode_row(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            pairs = [[self.encode(each, depth + 1) for each in pair] for pair in value.items()]
            return {"dict": pairs}
        if isinstance(value, torch.Size):
            return {"tuple": list(value)}
        parts = [self.encode(each, depth + 1) for each in value]
        if isinstance(value, set):
            parts.sort(key=repr)
        more = {"most": value.maxlen} if isinstance(value, deque) else {}
        return {type(value).__name__: parts, **more}

    def _encode_kin(self, value: Any, depth: int) -> Any:
        """A Counter, an OrderedDict or the like, which only one that is there can take back."""
        bases = (dict, list, set, deque)
        base = next((each for each in bases if isinstance(value, each)), None)
        if base is None or getattr(value, "__dict__", None):
            raise NotPlain
        return {"kin": _spell(value), "content": self._encode_row(base(value), depth)}

    def _encode_held(self, value: Any, depth: int) -> Any:
        """A generator by its state, another object by its attributes."""
        name = kind_of_generator(value)
        if name:
            return {"generator": name, "state": self.encode(state_of(value), depth + 1)}
        if isinstance(value, nn.Module) and id(value) in self._modules:
            return {"module": self._modules[id(value)]}
        held = getattr(value, "__dict__", None)
        if isinstance(value, _NO_STATE) or not isinstance(held, dict):
            raise NotPlain
        return {"object": _spell(value), "held": self.encode(dict(held), depth + 1)}


def _encode_numbers(value: Any) -> Any:
    if isinstance(value, Tensor):
        if value.grad_fn is not None:
            raise NotPlain(is_left_over=True)
        is_dense = value.layout is torch.strided and not value.is_nested
        if type(value) is not Tensor or value.requires_grad or not is_dense or value.is_quantized:
            raise NotPlain
        _refuse_large(value.numel() * value.element_size())
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        facts = {"tensor": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)}
        return {**facts, "device": value.device.type, "bytes": _text(flat.numpy().tobytes())}
    array = np.asarray(value)
    if array.dtype.hasobject or array.dtype.names or type(value).__module__ != "numpy":
        raise NotPlain
    _refuse_large(array.nbytes)
    name = "array" if isinstance(value, np.ndarray) else "number"
    shape = list(array.shape)
    return {name: array.dtype.str, "shape": shape, "bytes": _text(array.tobytes())}


def _spell(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _refuse_large(size: int) -> None:
    if size > MOST_BYTES:
        raise NotPlain


def _text(blob: bytes) -> str:
    return base64.b64encode(blob).decode("ascii")


def kind_of_generator(value: Any) -> str:
    """`torch`, `random`, `RandomState` or numpy's name for its bits; "" for no generator."""
    if isinstance(value, torch.Generator):
        return "torch"
    if isinstance(value, np.random.Generator):
        return type(value.bit_generator).__name__
    if isinstance(value, np.random.RandomState):
        return "RandomState"
    return "random" if type(value) is random.Random else ""


def decode(code: Any, now: Any, device: torch.device) -> Any:
    """The value that `code` stands for; containers and generators are changed in place if `now` is
    one, so that other references to them see it too.

    Tensors and arrays are made anew: one that stands there now may be a view of a weight. Tensors
    that were on an accelerator are made on `device`. Raises NotPlain for an object that
    is not there, and ValueError, LookupError or TypeError for what `encode` doesn't give.
    """
    if type(code) in _SIMPLE:
        return code
    if "float" in code:
        return float.fromhex(code["float"])
    if "bytes" in code:
        return _decode_numbers(code, now, device)
    if "generator" in code:
        return _decode_generator(code, now, device)
    if "object" in code or "kin" in code or "module" in code:
        return _decode_object(code, now, device)
    found = _decode_dict if "dict" in code else _decode_row
    return found(code, now, device)


def _decode_object(code: Any, now: Any, device: torch.device) -> Any:
    if "module" in code and isinstance(now, nn.Module):
        return now
    if _spell(now) != code.get("object", code.get("kin")):
        raise NotPlain
    if "kin" in code:
        content = decode(code["content"], None, device)
        now.clear()
        (now.extend if isinstance(now, (list, deque)) else now.update)(content)
        return now
    decode(code["held"], vars(now), device)
    return now


def _decode_dict(code: Any, now: Any, device: torch.device) -> Any:
    known = now if isinstance(now, dict) else {}
    made = {}
    for key, value in code["dict"]:
        name = decode(key, None, device)
        made[name] = decode(value, known.get(name), device)
    if type(now) is not dict:
        return made
    now.clear()
    now.update(made)
    return now


def _decode_row(code: Any, now: Any, device: torch.device) -> Any:
    name = next(name for name in _ROWS if name in code)
    kind: Any = _ROWS[name]
    is_ordered = type(now) is kind and kind is not set
    known = list(now) if is_ordered else []
    known += [None] * (len(code[name]) - len(known))
    parts = [decode(each, old, device) for each, old in zip(code[name], known, strict=False)]
    if type(now) is not kind or kind is tuple:
        return deque(parts, code["most"]) if kind is deque else kind(parts)
    now.clear()
    (now.update if kind is set else now.extend)(parts)
    return now


def _decode_numbers(code: Any, now: Any, device: torch.device) -> Any:
    blob, shape = base64.b64decode(code["bytes"]), code["shape"]
    if "tensor" in code:
        dtype = getattr(torch, code["tensor"])
        flat = torch.frombuffer(bytearray(blob), dtype=dtype) if blob else torch.empty(0).to(dtype)
        made = flat.reshape(shape)
        if type(now) is Tensor and now.shape == made.shape and now.dtype == dtype:
            return made.to(now.device)
        return made if code["device"] == "cpu" else made.to(device)
    kind = np.dtype(code.get("array", code.get("number")))
    array = np.frombuffer(blob, kind).reshape(shape)
    if "number" in code:
        return array[()]
    return array.copy()


def _decode_generator(code: Any, now: Any, device: torch.device) -> Any:
    name = code["generator"]
    makers: dict[str, Made] = {
        "torch": torch.Generator,
        "RandomState": lambda: np.random.RandomState(0),
        "random": lambda: random.Random(0),
    }
    if kind_of_generator(now) != name:
        if name not in makers and name not in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"):
            raise NotPlain
        bits = getattr(np.random, name, None)
        now = makers[name]() if name in makers else np.random.Generator(bits(0))  # type: ignore[misc]
    give_state(now, decode(code["state"], None, device))
    return now
