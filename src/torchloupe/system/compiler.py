"""torch's compiler, which takes a second to import, left out of commands that compile nothing.

torch marks four methods of `Optimizer` as not to be compiled, at their first call, and imports
the compiler to do so: making an optimizer takes a second for that.
"""

import contextlib
import sys

from torch.optim import Optimizer

_MARKED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
_MARK = "__dynamo_disable"  # of torch/_compile.py: the marked function, once it was made


def leave_out_compiler() -> bool:
    """Let optimizers be made without importing torch's compiler; returns whether they are.

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
    return True
