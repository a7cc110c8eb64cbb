"""Everything that must survive a crash, in one object, and nothing else.

The loop changes a State; checkpoints hold one. What can be derived from the settings and the
data (sample order, augmentation, the schedule's position) is not in it.
"""

from collections.abc import Callable, Mapping, Sequence
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
from torchloupe.run.own_state import OwnState
from torchloupe.run.tensor_files import fit_like, read_whole
from torchloupe.run.weights import infinite_from_the_start, load_weights, versions_of, with_versions

_AVERAGED = "module"  # the averaged model's name within AveragedModel
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
    own: OwnState | None = None  # what model and loss keep for themselves
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
    infinite: Mapping[str, Tensor] = field(init=False)  # not finite before training

    def __post_init__(self) -> None:
        self.infinite = infinite_from_the_start(self.model)

    @property
    def evaluated_model(self) -> nn.Module:
        """The model that is evaluated and kept: the averaged one if there is one."""
        module = self.average.module if self.average is not None else self.model
        assert isinstance(module, nn.Module)  # AveragedModel types it as Tensor | Module
        return module

    def update_average(self) -> None:
        """Take the weights as they are now into the average, if there is one."""
        if self.average is None:
            return
        self.average.update_parameters(self.model)
        if self.infinite:  # the mean of two infinities is NaN
            live, kept = self.model.state_dict(), self.average.module.state_dict()
            for name in self.infinite:
                kept[name].copy_(live[name])

    def trees(self, read: Callable[[Any], Any] = whole) -> dict[str, Any]:
        """The state as trees of tensors and plain values, for a checkpoint.

        `read` is given each part that has tensors: with `whole` they are the live ones, not
        copies. Every rank must call this.
        """
        weights = self.model.state_dict()
        trees = {
            "model": read(weights),
            "optimizer": read(self.optimizer.state_dict()),
            "state": {
                "versions": versions_of(weights),
                **{name: getattr(self, name) for name in _FACTS},
                "precision": self.precision.state_dict(),
                "schedule": self.schedule.state_dict() if self.schedule else None,
                "window": {name: getattr(self.window, name) for name in _WINDOW},
                "images_at_once": self.micro_limit.most,
            },
        }
        if self.average is not None:
            trees["average"] = read(self.average.state_dict())
        own = self.own.tree() if self.own is not None else None
        return trees if own is None else {**trees, "own": own}

    def load(self, trees: Mapping[str, Any]) -> None:
        """Become the state that `trees` holds.

        Raises CheckpointError if names or shapes differ from this state's model or optimizer,
        or where it holds what this version doesn't know.
        """
        check_parts(trees)
        facts = trees["state"]
        load_weights(self.model, with_versions(trees["model"], trees))
        if self.average is not None:
            average = trees.get("average", {})
            load_weights(self.average, with_versions(average, trees, f"{_AVERAGED}."))
        try:
            self.optimizer.load_state_dict(_fit(trees["optimizer"], self.optimizer))
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
        if self.own is not None:
            self.own.load(trees.get("own", {}))
        self.window = Window(**facts["window"])
        self.micro_limit.most = facts.get("images_at_once", 0)
        for name in _FACTS:
            setattr(self, name, facts[name])


def check_parts(trees: Mapping[str, Any]) -> None:
    """Raises CheckpointError for a sound checkpoint of another version; lists what differs."""
    parts = {"model": dict, "optimizer": dict, "state": dict}
    problems = _differences(trees, parts, {"average": dict, "own": dict}, "")
    if not problems:
        kinds = {**_FACTS, "precision": dict, "schedule": (dict, NoneType), "window": dict}
        optional: dict[str, Kind] = {"images_at_once": int, "versions": dict}
        problems = _differences(trees["state"], kinds, optional, "state.")
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


def lay_out(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor` in the memory layout of `like`, where both have the same shape.

    Fused optimizers iterate over memory, not dimensions: beside a channels_last weight they would
    read the numbers of a contiguous moment in the wrong order.
    """
    if tensor.shape != like.shape or tensor.stride() == like.stride():
        return tensor
    return torch.empty_like(like, dtype=tensor.dtype, device=tensor.device).copy_(tensor)


def _fit(tree: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer tree with the tuples that JSON turned into lists (Adam's betas) restored.

    Tensors that are still Stored are read as far as this rank's part of their weight goes.
    """
    groups = [
        {k: tuple(v) if isinstance(v, list) and k != "params" else v for k, v in group.items()}
        for group in tree["param_groups"]
    ]
    numbers = [number for group in groups for number in group["params"]]
    own = [weight for group in optimizer.param_groups for weight in group["params"]]
    weights = dict(zip(numbers, own, strict=False))  # torch says how they differ
    state = {
        number: fit_like(value, weights[number]) if number in weights else read_whole(value)
        for number, value in tree["state"].items()
    }
    return {"state": state, "param_groups": groups}


def evaluated_weights(trees: Mapping[str, Any]) -> Mapping[str, Any]:
    """The averaged weights where the run kept them, else the model's."""
    if "average" not in trees:
        return with_versions(trees["model"], trees)
    prefix = f"{_AVERAGED}."
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in trees["average"].items()
        if name.startswith(prefix)
    }
    return with_versions(weights, trees)
