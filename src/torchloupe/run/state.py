"""Everything that must survive a crash, in one object, and nothing else.

The loop changes a State; checkpoints hold one. What can be derived from the settings and the
data (sample order, augmentation, the schedule's position) is not in it.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from torchloupe.distributed.parallel import shard_like, whole
from torchloupe.errors import CheckpointError, printable
from torchloupe.hardware.memory import MicroBatchLimit
from torchloupe.hardware.precision import Precision

_WORDS = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.int8}


Kind = type | tuple[type, ...]
# The plain facts of a State and of its Window, by name, with what they may be.
_FACTS: dict[str, Kind] = {
    "step": int,
    "evaluated_step": int,
    "best_value": (int, float, NoneType),
    "best_step": int,
    "evaluations_without_gain": int,
    "stopped_early": bool,
    "seconds": (int, float),
}
_WINDOW: dict[str, Kind] = {
    "loss_sum": (int, float),
    "images": int,
    "steps": int,
    "bad_steps_in_row": int,
}


class Remembered(Protocol):
    """An object whose state is plain numbers."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Plateau(Remembered, Protocol):
    """A schedule that watches the monitored metric."""

    def update(self, value: float) -> None: ...


class Step(NamedTuple):
    """The outcome of a step: its loss and whether it was applied, possibly still on the device."""

    number: int
    loss: Tensor | float
    applied: Tensor | bool
    rows: NDArray[np.int64]  # on this rank
    images: int  # over all ranks
    overflowed: bool = False  # see StepResult


def read_steps(steps: Sequence[Step]) -> list[Step]:
    """The same steps as plain numbers; waits for the device once for all of them."""
    if not any(isinstance(step.applied, Tensor) for step in steps):
        return [
            Step(s.number, float(s.loss), s.applied, s.rows, s.images, s.overflowed) for s in steps
        ]
    facts = [
        torch.stack([torch.as_tensor(step.loss).double(), torch.as_tensor(step.applied).double()])
        for step in steps
    ]
    return [
        step._replace(loss=loss, applied=applied == 1)
        for step, (loss, applied) in zip(steps, torch.stack(facts).tolist(), strict=True)
    ]


@dataclass
class Window:
    """Sums since the last log line."""

    loss_sum: float = 0.0
    images: int = 0
    steps: int = 0
    bad_steps_in_row: int = 0


@dataclass
class State:
    """A run between two steps."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    precision: Precision
    average: AveragedModel | None = None
    schedule: Plateau | None = None  # only schedules that remember (plateau)
    step: int = 0  # optimizer updates done
    evaluated_step: int = 0  # the step of the last complete evaluation; -1: none, not even at 0
    best_value: float | None = None
    best_step: int = 0
    evaluations_without_gain: int = 0
    stopped_early: bool = False
    seconds: float = 0.0  # of training, over all resumes
    window: Window = field(default_factory=Window)
    micro_limit: MicroBatchLimit = field(
        default_factory=MicroBatchLimit
    )  # images that went through at once

    @property
    def evaluated_model(self) -> nn.Module:
        """The model that is evaluated and kept: the averaged one where there is one."""
        module = self.average.module if self.average is not None else self.model
        assert isinstance(module, nn.Module)  # AveragedModel types it as Tensor | Module
        return module

    def trees(self) -> dict[str, Any]:
        """The state as trees of tensors and plain values, for a checkpoint.

        Tensors are the live ones, not copies. Every rank must call this.
        """
        trees = {
            "model": whole(self.model.state_dict()),
            "optimizer": whole(self.optimizer.state_dict()),
            "state": {
                **{name: getattr(self, name) for name in _FACTS},
                "precision": self.precision.state_dict(),
                "schedule": self.schedule.state_dict() if self.schedule else None,
                "window": {name: getattr(self.window, name) for name in _WINDOW},
                "images_at_once": self.micro_limit.most,
            },
        }
        if self.average is not None:
            trees["average"] = whole(self.average.state_dict())
        return trees

    def load(self, trees: Mapping[str, Any]) -> None:
        """Become the state that `trees` holds.

        Raises CheckpointError where names or shapes differ from this state's model or optimizer,
        or where it holds what this version doesn't know.
        """
        check_parts(trees)
        facts = trees["state"]
        load_weights(self.model, trees["model"])
        if self.average is not None:
            load_weights(self.average, trees.get("average", {}))
        try:
            self.optimizer.load_state_dict(_with_initial_groups(trees["optimizer"]))
            for parameter, values in self.optimizer.state.items():
                self.optimizer.state[parameter] = {
                    name: lay_out(shard_like(value, parameter), parameter)
                    if isinstance(value, Tensor)
                    else value
                    for name, value in values.items()
                }
            self.precision.load_state_dict(facts["precision"])
            if self.schedule is not None and facts["schedule"] is not None:
                self.schedule.load_state_dict(facts["schedule"])
        except (ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
            raise CheckpointError(
                "the optimizer, precision or schedule in the checkpoint doesn't fit this run's "
                f"({type(error).__name__}: {printable(error)})",
                "resume with the settings the run was started with",
            ) from None
        self.window = Window(**facts["window"])
        self.micro_limit.most = facts.get("images_at_once", 0)
        for name in _FACTS:
            setattr(self, name, facts[name])


def check_parts(trees: Mapping[str, Any]) -> None:
    """Raises CheckpointError for a sound checkpoint of another version; lists what differs."""
    parts = {"model": dict, "optimizer": dict, "state": dict}
    problems = _differences(trees, parts, {"average": dict}, "")
    if not problems:
        kinds = {**_FACTS, "precision": dict, "schedule": (dict, NoneType), "window": dict}
        problems = _differences(trees["state"], kinds, {"images_at_once": int}, "state.")
    if not problems:
        problems = _differences(trees["state"]["window"], _WINDOW, {}, "state.window.")
    if problems:
        raise CheckpointError(
            f"the checkpoint is not one of this version: {'; '.join(problems)}",
            "use the torchloupe version that wrote it",
        )


def _differences(
    content: Mapping[str, Any],
    wanted: Mapping[str, Kind],
    optional: Mapping[str, Kind],
    place: str,
) -> list[str]:
    """What is missing from a part of a checkpoint, unknown, or of another type; one text each."""
    problems = [f"{place}{name} is missing" for name in wanted if name not in content]
    for name, value in content.items():
        kind = {**wanted, **optional}.get(name)
        if kind is None:
            problems.append(f"{place}{printable(name, 60)} is unknown")
        elif not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            problems.append(f"{place}{name} is {printable(value, 60)}")
    return problems


def checksum_weights(model: nn.Module) -> str:
    """A 64-bit checksum of every bit of the model's weights and buffers, as 16 hex digits.

    Changing any single number changes it. Costs one pass over the weights and waits for the device
    once. It is a sum of 64-bit words modulo 2**64, each tensor multiplied by its own odd number.
    """
    sums = [
        _as_words(tensor).sum(dtype=torch.int64) for tensor in whole(model.state_dict()).values()
    ]
    if not sums:
        return f"{0:016x}"
    plain = torch.stack([each.to(sums[0].device) for each in sums]).tolist()
    total = sum(each * (2 * number + 1) for number, each in enumerate(plain))
    return f"{total & 0xFFFF_FFFF_FFFF_FFFF:016x}"


def lay_out(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor` in the memory layout of `like`, where both have the same shape.

    Fused optimizers iterate over memory, not dimensions: beside a channels_last weight they would
    read the numbers of a contiguous moment in the wrong order.
    """
    if tensor.shape != like.shape or tensor.stride() == like.stride():
        return tensor
    return torch.empty_like(like, dtype=tensor.dtype, device=tensor.device).copy_(tensor)


def _as_words(tensor: Tensor) -> Tensor:
    """The bits of a tensor as integers, of 64 bits where it can be split into such."""
    flat = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).detach().contiguous()
    flat, width = flat.reshape(-1), flat.element_size()
    is_even = not (flat.numel() * width) % 8 and not (flat.storage_offset() * width) % 8
    return flat.view(torch.int64 if is_even else _WORDS[width])


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy `weights` into `model`; every name and shape must match, else CheckpointError."""
    own = model.state_dict()
    strange = [name for name in weights if not isinstance(weights[name], Tensor)]
    if strange:
        raise CheckpointError(
            f"the checkpoint has no weights under {_some(strange)}",
            "use a checkpoint as it was written",
        )
    missing = [name for name in own if name not in weights]
    extra = [name for name in weights if name not in own]
    wrong = [
        f"{name} is {tuple(weights[name].shape)}, wanted {tuple(own[name].shape)}"
        for name in own
        if name in weights and own[name].shape != weights[name].shape
    ]
    problems = [
        f"{kind} {_some(names)}"
        for kind, names in (("lacks", missing), ("has also", extra))
        if names
    ]
    problems += [_some(wrong)] if wrong else []
    if problems:
        raise CheckpointError(
            "the checkpoint's weights don't fit this model: it " + "; ".join(problems),
            "give the model the run was trained with (--model)",
        )
    fitted = OrderedDict((name, shard_like(weights[name], like)) for name, like in own.items())
    fitted._metadata = getattr(own, "_metadata", {})  # type: ignore[attr-defined]  # versions
    model.load_state_dict(fitted)


def _some(names: list[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _with_initial_groups(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The optimizer tree with the tuples that JSON turned into lists (Adam's betas) restored."""
    groups = [
        {k: tuple(v) if isinstance(v, list) and k != "params" else v for k, v in group.items()}
        for group in tree["param_groups"]
    ]
    return {"state": tree["state"], "param_groups": groups}


def evaluated_weights(trees: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
    """The averaged weights where the run kept them, else the model's."""
    if "average" not in trees:
        found: Mapping[str, torch.Tensor] = trees["model"]
        return found
    prefix = "module."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in trees["average"].items()
        if name.startswith(prefix)
    }
