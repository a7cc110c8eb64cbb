"""What torch wraps around models: DataParallel, DistributedDataParallel, compiled, averaged.

They add prefixes (`module.`, `_orig_mod.`) to the names of weights. Without them a model has the
names that its author gave, and checkpoints load into the plain model.
"""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from torchloupe.errors import UsageError, printable

_AROUND = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


def unwrap(model: nn.Module) -> nn.Module:
    """The plain model inside `model`, wrappings of its parts taken off too; compiled no more.

    Raises UsageError for torch.jit modules: the parameters of their copies are no leaves, so that
    no gradient reaches them, and copies take no hooks. And for those of torch.export.
    """
    while (inner := _inside(model)) is not None:
        model = inner
    for module in list(model.modules()):
        for name, child in list(module._modules.items()):
            if child is not None and _inside(child) is not None:
                module._modules[name] = unwrap(child)
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise UsageError(
                f"{printable(name) or 'the model'} ({printable(_kind_of(module), 80)}) is a "
                "torch.jit module, which can't be trained here: copies of it get no gradients",
                f"let the class {printable(type(module).__name__)} derive from nn.Module, without "
                "@torch.jit.script_method"
                if _is_own_class(module)
                else "give the nn.Module it was made from, and script or trace the trained "
                "run.model",
            )
    own_train = getattr(vars(model).get("train"), "__func__", None)
    if str(getattr(own_train, "__module__", "")).startswith("torch.export"):
        raise UsageError(
            "the model was made by torch.export, and such a module can't be put into training mode",
            "give the nn.Module that was exported, and export the trained run.model",
        )
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


def _is_own_class(module: torch.jit.ScriptModule) -> bool:
    """Whether the class itself derives from ScriptModule; else a module was scripted or traced."""
    return not type(module).__module__.startswith("torch.")


def _kind_of(module: torch.jit.ScriptModule) -> str:
    return str(getattr(module, "original_name", "")) or type(module).__name__
