"""Logits out of what a model of the user gives: a tensor, a tuple, a dict, or one logit.

A forward hook does it, so that every caller of the model gets logits [B, K] and the names of
its weights stay as they are.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.nn.functional import pad


class LogitsHook:
    """The forward hook; it remembers what it found, for a note and for the loss.

    `taken` says which part of the output was used, `rest` what else there was, and `one_logit`
    is the shape of an image's single logit, `()` or `(1,)`; None if there are `classes`.
    `outputs` is the setting model.outputs: what the model gives, where it is not logits.
    """

    def __init__(self, classes: int, multi_label: bool, outputs: str = "auto") -> None:
        self.outputs = outputs
        self.takes_one_logit = classes == 2 and not multi_label
        self.classes = classes
        self.taken = ""
        self.rest = ""
        self.one_logit: tuple[int, ...] | None = None

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor | None:
        """The logits in `output`; None, which leaves it as it is, where nothing is to be done."""
        found = output
        if not isinstance(output, Tensor):
            taken, rest, found = _find_logits(output, self.classes, self.takes_one_logit)
            if found is None:
                return None
            if not self.taken:
                self.taken, self.rest = taken, rest
        if self._is_one_logit(inputs, found):
            if self.one_logit is None:
                self.one_logit = tuple(found.shape[1:])
            return pad(self._as_logits(module, found.reshape(-1, 1)), (1, 0))
        found = self._as_logits(module, found)
        return None if found is output else found

    def _as_logits(self, module: nn.Module, found: Tensor) -> Tensor:
        """`found`, or the logits of the probabilities that it is."""
        in_eval_only = self.outputs.startswith("eval_")
        if self.outputs in ("auto", "logits") or (in_eval_only and module.training):
            return found
        return to_logits(found, self.outputs.removeprefix("eval_"))

    def undo(self, logits: Tensor) -> Tensor:
        """What the model gave in training, of the logits that were made of it: for its loss."""
        if self.outputs == "softmax":
            return logits.softmax(dim=1)
        return logits.sigmoid() if self.outputs == "sigmoid" else logits

    def _is_one_logit(self, inputs: tuple[Any, ...], found: Tensor) -> bool:
        """Whether it is [B], [B, 1], or of a single image without its dimension []."""
        if not self.takes_one_logit or not inputs or not isinstance(inputs[0], Tensor):
            return False
        images = inputs[0].shape[0]
        shapes = [(images,), (images, 1), *([()] if images == 1 else [])]
        return found.is_floating_point() and tuple(found.shape) in shapes

    def notes(self, class_names: tuple[str, ...]) -> list[str]:
        """Notes for the user, after a trial forward."""
        found = []
        if self.taken:
            rest = f" (not trained on: {self.rest})" if self.rest else ""
            found.append(f"the model's logits are {self.taken}{rest}")
        if self.one_logit is not None:
            found.append(
                f"the model gives one logit per image: above 0 means '{class_names[1]}', and cross "
                "entropy is then the binary loss of that logit"
            )
        return found


def to_logits(shares: Tensor, end: str) -> Tensor:
    """Numbers whose softmax, or sigmoid, gives `shares` back; finite for 0 and 1."""
    shares = shares if shares.dtype == torch.float64 else shares.float()
    limits = torch.finfo(shares.dtype)
    found = shares.clamp_min(limits.tiny).log()
    if end == "softmax":
        return found
    return found - torch.log1p(-shares.clamp_max(1 - limits.eps / 2))


def take_logits(
    model: nn.Module, classes: int, *, multi_label: bool = False, outputs: str = "auto"
) -> nn.Module:
    """`model`, which from now on returns logits instead of an object that holds them.

    Taken are `.logits` of an object, `logits` of a dict, and the first of a tuple or list where
    it is [B, K]; of two classes one logit z an image becomes the pair (0, z), whose softmax is
    sigmoid(z). Everything else is left for the trial forward to refuse. `outputs` is the setting
    model.outputs: probabilities by "softmax" or "sigmoid" become their logits, those by
    "eval_softmax" or "eval_sigmoid" in eval mode only.
    """
    if type(model).__module__.startswith("torchloupe.") or isinstance(model, ScriptModule):
        return model
    release(model)
    model.register_forward_hook(LogitsHook(classes, multi_label, outputs))
    return model


def release(model: nn.Module) -> None:
    """Undo `take_logits`: the model gives again what its own forward returns."""
    for key, hook in list(model._forward_hooks.items()):
        if isinstance(hook, LogitsHook):
            del model._forward_hooks[key]


def hook_of(model: nn.Module) -> LogitsHook | None:
    """The hook that `take_logits` put on the model, or on the one inside a parallel wrapper."""
    for module in (model, getattr(model, "module", None), getattr(model, "_orig_mod", None)):
        for hook in module._forward_hooks.values() if isinstance(module, nn.Module) else ():
            if isinstance(hook, LogitsHook):
                return hook
    return None


def describe_outputs(hook: LogitsHook | None, class_names: tuple[str, ...]) -> list[str]:
    """Notes on which part of a model's output is used, after a forward of it."""
    return [] if hook is None else hook.notes(class_names)


def _find_logits(
    output: Any, classes: int, takes_one_logit: bool
) -> tuple[str, str, Tensor | None]:
    """Where the logits are, what else there is, and the logits; None if nothing is certain."""
    if isinstance(output, Mapping):
        logits = output.get("logits")
        others = [str(key) for key, value in output.items() if key != "logits" and _counts(value)]
        where = "its output's ['logits']" if type(output) is dict else "the .logits of its output"
    elif isinstance(getattr(output, "logits", None), Tensor):
        logits = output.logits
        names = getattr(output, "_fields", None) or vars(output)
        others = [
            str(name) for name in names if name != "logits" and _counts(getattr(output, name, None))
        ]
        where = "the .logits of its output"
    elif isinstance(output, (tuple, list)) and output:
        logits = output[0]
        if not isinstance(logits, Tensor) or not _is_row(logits, classes, takes_one_logit):
            return "", "", None
        others = [f"the other {len(output) - 1}"] if len(output) > 1 else []
        where = f"the first of the {type(output).__name__} that it gives"
    else:
        return "", "", None
    return where, ", ".join(others[:4]), logits if isinstance(logits, Tensor) else None


def _counts(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _is_row(logits: Tensor, classes: int, takes_one_logit: bool) -> bool:
    return logits.ndim == 2 and (
        logits.shape[1] == classes or (takes_one_logit and logits.shape[1] == 1)
    )
