"""torch's compiler, which takes seconds to import, left out of commands that compile nothing.

torch marks four methods of `Optimizer` as not to be compiled, at their first call, and every step
of its optimizers tells the compiler not to look into it. For both it imports the compiler.
"""

import contextlib
import functools
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

_MARKED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
_MARK = "__dynamo_disable"  # of torch/_compile.py: the marked function, once it was made
_GUARD = "_use_grad"  # of torch/optim/optimizer.py: what stands around each optimizer's step


def leave_out_compiler() -> bool:
    """Let optimizers be made and step without importing torch's compiler; whether they do.

    The methods do the same as before. Where this torch marks them in another way, or the compiler
    is imported already, nothing is changed. It holds until the process ends, so it is for commands,
    not for notebooks, where a later cell may compile an optimizer's step.
    """
    if "torch._dynamo" in sys.modules:
        return False
    for name in _MARKED:
        method = getattr(getattr(Optimizer, name, None), "__wrapped__", None)
        with contextlib.suppress(AttributeError, TypeError):
            vars(method).setdefault(_MARK, method)
    for kind in vars(torch.optim).values():
        if isinstance(kind, type) and issubclass(kind, Optimizer):
            step = vars(kind).get("step")
            if getattr(getattr(step, "__code__", None), "co_name", "") == _GUARD:
                kind.step = _with_grad_as_asked(step.__wrapped__)  # type: ignore[method-assign, union-attr]
    return True


def _with_grad_as_asked(step: Callable[..., Any]) -> Callable[..., Any]:
    """`step` with gradients on for a differentiable optimizer and off for any other, as torch
    calls it, but without a word to the compiler.
    """

    @functools.wraps(step)
    def stepping(self: Optimizer, *args: Any, **options: Any) -> Any:
        with torch.set_grad_enabled(bool(self.defaults["differentiable"])):
            return step(self, *args, **options)

    return stepping
