"""What torch wraps around models: DataParallel, DistributedDataParallel, compiled, averaged.

They put words of their own (`module.`, `_orig_mod.`) into the names of weights. Taken off, a
model has the names that its author gave it, and weights of the one load into the other.
"""

from torch import nn
from torch.optim.swa_utils import AveragedModel

_AROUND = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


def unwrap(model: nn.Module) -> nn.Module:
    """The plain model inside `model`, wrappings of its parts taken off too; compiled no more."""
    while (inner := _inside(model)) is not None:
        model = inner
    for module in list(model.modules()):
        for name, child in list(module._modules.items()):
            if child is not None and _inside(child) is not None:
                module._modules[name] = unwrap(child)
    for module in model.modules():
        module._compiled_call_impl = None  # what `module.compile()` sets
    return model


def is_compiled(model: nn.Module) -> bool:
    """Whether the model or a part of it is compiled."""
    return any(
        _is_compiled(module) or module._compiled_call_impl is not None for module in model.modules()
    )


def _inside(model: nn.Module) -> nn.Module | None:
    if not isinstance(model, _AROUND) and not _is_compiled(model):
        return None
    return model._modules.get("_orig_mod" if _is_compiled(model) else "module")


def _is_compiled(model: nn.Module) -> bool:
    # By name: importing torch._dynamo for its class takes a second.
    return type(model).__name__ == "OptimizedModule" and "_orig_mod" in model._modules
