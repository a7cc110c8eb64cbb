"""Whether forwards in eval mode give the same images the same logits; if not, where they part.

They must: a prediction would be another one each time. Weights, buffers, modes and random states
are as before afterwards.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from torchloupe.lens.batch_dependence import CLOSE, gap_of
from torchloupe.lens.trace import unchanged, uncompiled
from torchloupe.lens.watch import dense_tensors_in, version_of

SEEDS = 8  # tried where random numbers are drawn: dropout of a small share often changes nothing
_DRAWING = (
    *("rand", "randn", "rand_like", "randn_like", "randint", "randint_like", "randperm", "normal"),
    *("bernoulli", "multinomial", "poisson", "gumbel_softmax", "normal_", "uniform_", "bernoulli_"),
    *("exponential_", "random_", "log_normal_", "cauchy_", "geometric_"),
)
# Functions that draw, or use the batch, where their argument `training` is true; its place.
_SWITCHED = {
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d", "dropout_"), 2),
    **dict.fromkeys(("alpha_dropout", "alpha_dropout_", "feature_alpha_dropout"), 2),
    **{"feature_dropout": 2, "rrelu": 3, "batch_norm": 5},
}
_ATTENTION = "scaled_dot_product_attention"  # draws where its argument dropout_p is above 0


@dataclass(frozen=True)
class Parting:
    """The logits of two forwards differ by `gap`, a share of the largest.

    `layer` is the innermost module that gives other outputs for the same inputs, with its type;
    "" for none. In its forward the last layer that still agreed is `after`.
    """

    gap: float
    layer: str = ""
    after: str = ""
    function: str = ""  # what it calls there that draws: dropout, randn_like, ...; "" if unknown
    in_training: bool = False  # the layer was in training mode, which eval() didn't change
    buffer: str = ""  # one that forward changes in eval mode, and on which later logits depend


@dataclass
class EvalCall:
    """A call of a module in a forward in eval mode."""

    name: str
    module: nn.Module
    inputs: list[Tensor]
    in_training: bool
    outputs: list[Tensor] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)  # that draw; directly, not in a child

    @property
    def title(self) -> str:
        """The name and the type."""
        kind = type(self.module).__name__
        return f"{self.name} ({kind})" if self.name else kind


def find_parting(model: nn.Module, images: Tensor) -> Parting | None:
    """Where two forwards in eval mode of `images` [B, C, H, W] part; None if they agree.

    Where random numbers are drawn several seeds are compared, else two forwards. Kernels that
    don't repeat their bits differ by less than CLOSE, and are passed over. All begin with the same
    buffers; where a forward changes some, one more follows that begins with these.
    """
    first, drawn, changed = _logits_of(model, images, 1)
    most = 0.0
    for seed in range(2, SEEDS + 2 if drawn else 3):
        other = _logits_of(model, images, seed)[0]
        gap = gap_of(first, other)
        most = max(gap, most)
        if gap and not (gap <= CLOSE and _is_unsteady(model, images, first, drawn=drawn)):
            ours, theirs = (watch_evaluation(model, images, number) for number in (1, seed))
            return _locate(ours, theirs, gap)
    if not changed:
        return None
    with _evaluating(model, images.device, 1):
        gap = gap_of(model(images.clone()), model(images.clone()))
    return Parting(gap, buffer=changed[0]) if gap > most else None


def _is_unsteady(model: nn.Module, images: Tensor, first: Tensor, *, drawn: bool) -> bool:
    """Whether the bits differ although no number was drawn, or although the same ones were."""
    return not drawn or gap_of(first, _logits_of(model, images, 1)[0]) > 0


def _logits_of(model: nn.Module, images: Tensor, seed: int) -> tuple[Tensor, bool, list[str]]:
    """The logits in eval mode, whether the forward drew random numbers, and the buffers that it
    changed, by name.
    """
    with _evaluating(model, images.device, seed):
        states, buffers = _random_states(images.device), _versions_of(model)
        logits = model(images.clone())
        drew = states != _random_states(images.device)
        now = _versions_of(model)
    return logits, drew, [name for name, known in now.items() if known != buffers.get(name)]


def _versions_of(model: nn.Module) -> dict[str, tuple[int, int]]:
    """What differs for a buffer that was changed in place, or replaced."""
    return {
        name: (id(buffer), version_of(buffer))
        for name, buffer in model.named_buffers()
        if not is_lazy(buffer)
    }


@contextmanager
def _evaluating(model: nn.Module, device: torch.device, seed: int) -> Iterator[None]:
    with unchanged(model, device), uncompiled(model), torch.no_grad():
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        model.eval()
        yield


def _random_states(device: torch.device) -> list[Any]:
    """All that changes when a number is drawn from one of the generators that programs share."""
    numpy: Any = np.random.get_state(legacy=False)
    inner = numpy["state"]
    states: list[Any] = [random.getstate(), inner["key"].tobytes(), inner["pos"]]
    states.append(numpy.get("has_gauss"))
    states.append(torch.get_rng_state().numpy().tobytes())
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device).numpy().tobytes())
    return states


def watch_evaluation(model: nn.Module, images: Tensor, seed: int = 1) -> list[EvalCall]:
    """The calls of a forward in eval mode, in the order in which they end; the model's is last."""
    done: list[EvalCall] = []
    stack: list[EvalCall] = []

    def begin(name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            inputs = [tensor.detach().clone() for tensor in dense_tensors_in((args, kwargs))]
            stack.append(EvalCall(name, module, inputs, module.training))

        return hook

    def end(module: nn.Module, _args: Any, output: Any) -> None:
        while stack:  # calls that raised, and whose error the model caught, never end
            call = stack.pop()
            if call.module is module:
                call.outputs = [tensor.detach().clone() for tensor in dense_tensors_in(output)]
                done.append(call)
                return

    handles = []
    for name, module in model.named_modules():
        if not isinstance(module, torch.jit.ScriptModule):
            handles.append(module.register_forward_pre_hook(begin(name), with_kwargs=True))
            handles.append(module.register_forward_hook(end))
    try:
        with _evaluating(model, images.device, seed), _Listening(stack):
            model(images.clone())
    finally:
        for handle in handles:
            handle.remove()
    return done


def find_batch_norm(model: nn.Module, images: Tensor) -> EvalCall | None:
    """The first call of a forward in eval mode that normalises by the batch although the layer
    keeps running statistics, or that calls F.batch_norm(training=True) itself; None if none does.
    """
    for call in watch_evaluation(model, images):
        is_norm = isinstance(call.module, _BatchNorm)
        if call.in_training and is_norm and call.module.track_running_stats:
            return replace(call, functions=[])
        if not is_norm and "batch_norm" in call.functions:
            return call
    return None


class _Listening(TorchFunctionMode):
    """Notes the functions that draw, or use the batch, with the call that they belong to."""

    def __init__(self, stack: list[EvalCall]) -> None:
        super().__init__()
        self.stack = stack

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """The result of `func`, which torch hands over in place of calling it."""
        more = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if self.stack and (name in _DRAWING or _is_switched_on(name, args, more)):
            self.stack[-1].functions.append(name)
        return func(*args, **more)


def _is_switched_on(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call of a function with a switch draws, or uses the batch."""
    if name == _ATTENTION:
        share = kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0)
        return bool(share)
    place = _SWITCHED.get(name)
    if place is None:
        return False
    switch = kwargs.get("training", kwargs.get("train", args[place] if len(args) > place else 0))
    return bool(switch)


def _locate(ours: list[EvalCall], theirs: list[EvalCall], gap: float) -> Parting:
    """The first call to end whose inputs agree and whose outputs don't."""
    agreed: list[EvalCall] = []
    for one, other in zip(ours, theirs, strict=False):
        if one.name != other.name:
            break
        if _agree(one.outputs, other.outputs):
            agreed.append(one)
        elif _agree(one.inputs, other.inputs):
            inside = [c for c in agreed if not one.name or c.name.startswith(f"{one.name}.")]
            after = inside[-1].title if inside else ""
            function = one.functions[0] if one.functions else ""
            return Parting(gap, one.title, after, function, one.in_training)
    return Parting(gap)


def _agree(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    same_count = len(ours) == len(theirs)
    return same_count and all(gap_of(*pair) == 0 for pair in zip(ours, theirs, strict=True))
