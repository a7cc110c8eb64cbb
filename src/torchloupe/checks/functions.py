"""The torch functions of a forward, seen one by one: activations, weights, what is linear.

Works for modules and for plain calls of torch alike, since every torch function passes by.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from torchloupe.lens.trace import is_dense

_RECTIFIERS = {"relu", "relu_", "relu6", "hardtanh"}
_SQUASHERS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
_NEAR = 0.01  # share of the range within which a squashed number is saturated
_WEIGHING = {"linear", "conv1d", "conv2d", "conv3d"}
# What changes neither numbers nor their order, or changes them linearly, one input alone.
_PASSING = {
    *("view", "reshape", "flatten", "permute", "transpose", "contiguous", "squeeze", "unsqueeze"),
    *("dropout", "dropout2d", "feature_dropout", "batch_norm", "clone", "to", "float", "mean"),
    *("avg_pool2d", "adaptive_avg_pool2d", "adaptive_avg_pool1d", "view_as", "unflatten", "sum"),
}
_ASIDE = {
    *("size", "dim", "numel", "__get__", "__len__", "add", "__add__", "__radd__", "stride", "cat"),
    *("is_floating_point", "detach", "type", "expand", "is_contiguous", "__getitem__", "add_"),
    *("get_device", "item", "__bool__", "__format__", "isnan", "new_zeros", "zeros_like"),
}
_POOLS = {"max_pool2d", "adaptive_max_pool2d", "max_pool2d_with_indices", "boolean_dispatch"}


@dataclass
class Activation:
    """What an activation gave: shares of units that are dead, and of numbers at the ends."""

    layer: str  # the layer before it
    function: str
    units: int
    dead_fraction: float = 0.0
    saturated_fraction: float = 0.0


@dataclass
class Pair:
    """Two weighted layers with nothing but linear operations between them."""

    first: str
    second: str
    shapes: tuple[tuple[int, ...], tuple[int, ...]]  # of their weights
    groups: int


@dataclass
class Functions:
    """What was seen in one forward."""

    activations: list[Activation] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    weighted: list[str] = field(default_factory=list)  # layers with weights, in order
    pooled: bool = False  # by a maximum
    bends: list[str] = field(default_factory=list)  # functions that are not known to be linear
    called: set[str] = field(default_factory=set)  # modules
    entry: Tensor | None = None  # what the first layer with weights got
    last_layer: str = ""  # the last module without parts that returned


class _Recorder(TorchFunctionMode):
    def __init__(self, found: Functions, here: list[str]) -> None:
        super().__init__()
        self.found = found
        self.here = here
        self.weights: set[int] = set()  # where those used so far lie in memory
        self.linear_since: dict[int, tuple[Tensor, str, tuple[int, ...], int]] = {}

    def __torch_function__(
        self,
        function: Callable[..., Any],
        _types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        source = args[0] if args and isinstance(args[0], Tensor) else kwargs.get("input")
        before = self.linear_since.get(id(source))
        output = function(*args, **kwargs)
        if output is source:  # changed in place
            self.linear_since.pop(id(source), None)
        name = getattr(function, "__name__", "")
        if name in _WEIGHING:
            self._weigh(args, kwargs, before, output)
        elif name in _PASSING:
            if before is not None and isinstance(output, Tensor):  # in place or not
                self.linear_since[id(output)] = (output, *before[1:])
        elif name in _POOLS:
            self.found.pooled = True
        elif name not in _ASIDE:
            self.found.bends.append(name)
        if isinstance(output, Tensor) and is_dense(output) and output.is_floating_point():
            self._look(name, output.detach())
        return output

    def _weigh(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], before: Any, output: Tensor
    ) -> None:
        weight = args[1] if len(args) > 1 else kwargs.get("weight")
        if not isinstance(weight, Tensor):
            return
        shape, place = tuple(weight.shape), self.place
        if not self.found.weighted and args and isinstance(args[0], Tensor):
            self.found.entry = args[0].detach()
        is_convolution = len(shape) > 2 and shape[1] and args and isinstance(args[0], Tensor)
        groups = args[0].shape[1] // shape[1] if is_convolution else 1
        is_tied = weight.data_ptr() in self.weights
        self.weights.add(weight.data_ptr())
        if before is not None and not is_tied:
            pair = Pair(before[1], place, (before[2], shape), max(before[3], groups))
            self.found.pairs.append(pair)
        self.found.weighted.append(place)
        if not is_tied:
            self.linear_since[id(output)] = (output, place, shape, groups)

    def _look(self, name: str, output: Tensor) -> None:
        name = name.rstrip("_")
        channels = 1 if output.ndim == 4 else -1
        if output.ndim < 2:
            return
        units = output.shape[channels]
        if name in _RECTIFIERS:
            alive = (output.movedim(channels, 0).flatten(1) > 0).any(dim=1)
            dead = 1 - float(alive.float().mean())
            self.found.activations.append(Activation(self.before, name, units, dead_fraction=dead))
        elif name in _SQUASHERS:
            low, high = _SQUASHERS[name]
            edge = _NEAR * (high - low)
            ends = ((output < low + edge) | (output > high - edge)).float().mean()
            found = Activation(self.before, name, units, saturated_fraction=float(ends))
            self.found.activations.append(found)

    @property
    def before(self) -> str:
        """The last layer with weights that was called."""
        return self.found.weighted[-1] if self.found.weighted else ""

    @property
    def place(self) -> str:
        """The innermost module that is running, or in the model's own code the last that ran."""
        return self.here[-1] if self.here[-1] else self.found.last_layer


@contextmanager
def recording_functions(model: nn.Module) -> Iterator[Functions]:
    """Inside, the functions of each forward of `model` are recorded."""
    found, here = Functions(), [""]
    handles = []

    def begin(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any) -> None:
            found.called.add(name)
            here.append(name)

        return hook

    def end(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _inputs: Any, _output: Any) -> None:
            if len(here) > 1:
                here.pop()
            if not any(True for _ in module.children()):
                found.last_layer = name

        return hook

    for name, module in model.named_modules(remove_duplicate=True):
        if name:
            handles.append(module.register_forward_pre_hook(begin(name)))
            handles.append(module.register_forward_hook(end(name), always_call=True))
    try:
        with _Recorder(found, here):
            yield found
    finally:
        for handle in handles:
            handle.remove()
