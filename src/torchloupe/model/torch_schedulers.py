"""Learning-rate schedulers of torch, timm or the user as the schedule of a run.

A scheduler never steps the optimizer of the run. It moves a stand-in with the same parameter
groups, and the loop copies the values for each step from there. They depend on the number of
the step alone, so there is nothing to save, and a resumed run gets the same values.
"""

import copy
import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau

from torchloupe.errors import LoupeError, UsageError, printable
from torchloupe.model.schedules import Plateau
from torchloupe.model.signature import parameters_of
from torchloupe.system.user_code import load_object, refuse_failure

Every = Literal["auto", "step", "epoch"]
REPLAYED_STEPS = 200_000  # at most, to find out before training whether a scheduler ends too early

# What a constructor may ask for that follows from the run: its number of scheduler steps.
_LENGTHS = ("T_max", "total_steps", "total_iters", "num_training_steps", "t_initial")


class TorchSchedule:
    """What a scheduler makes of the parameter groups, as a function of the step.

    `note` says in one line which scheduler it is and how often it is stepped.
    """

    def __init__(self, scheduler: Any, optimizer: Optimizer, steps_between: int, name: str) -> None:
        self.name = name
        self.note = f"learning rate: {name}, stepped once " + (
            "a step" if steps_between == 1 else f"an epoch ({steps_between:,} steps)"
        )
        self.steps_between = steps_between
        self._base = [_values(group) for group in optimizer.param_groups]
        self.scheduler = scheduler
        self._moved: set[str] = {"lr"}
        self._step, self._has_ended = 0, False
        self._restart()

    def factor(self, step: int, total_steps: int) -> float:  # noqa: ARG002
        """The learning rate of the first group after `step` steps, by its initial one."""
        lr = float(self._groups_at(step)[0]["lr"])
        initial = float(self._base[0].get("initial_lr", self._base[0]["lr"]))
        return lr / initial if initial else 1.0

    def set_groups(self, optimizer: Optimizer, step: int) -> float:
        """Give every group of `optimizer` its values for the step after `step` finished ones.

        Besides the learning rate these are what else the scheduler moves (momentum, betas).
        Returns the learning rate of the first group.
        """
        for group, found in zip(optimizer.param_groups, self._groups_at(step), strict=True):
            for key in self._moved & found.keys():
                if isinstance(group[key], Tensor):  # a captured graph reads the tensor
                    group[key].fill_(found[key])
                else:
                    group[key] = found[key]
        return float(optimizer.param_groups[0]["lr"])

    def _groups_at(self, step: int) -> list[dict[str, Any]]:
        if step < self._step:
            self._restart()
        while self._step < step and not self._has_ended:
            self._step += 1
            self._advance()
        self._step = step
        return cast("list[dict[str, Any]]", self._moving.optimizer.param_groups)

    def _restart(self) -> None:
        self._moving = copy.deepcopy(self.scheduler)
        _prepare(self._moving.optimizer)
        self._step, self._has_ended = 0, False
        self._see_what_moved()

    def _advance(self) -> None:
        is_due = self._step % self.steps_between == 0
        try:
            if hasattr(self._moving, "step_update"):  # timm's, which count by themselves
                self._moving.step_update(self._step)
                if is_due:
                    self._moving.step(self._step // self.steps_between)
            elif is_due and self._is_over():
                self._has_ended = True  # and its last values stay
            elif is_due:
                self._moving.step()
        except Exception as error:
            raise _failure(self.name, error) from error
        self._see_what_moved()

    def _is_over(self) -> bool:
        """Whether the scheduler has a last step, as OneCycleLR has, and stands at it."""
        parts = [self._moving, *getattr(self._moving, "_schedulers", ())]
        return any(
            isinstance(part, OneCycleLR) and part.last_epoch + 1 >= part.total_steps
            for part in parts
        )

    def _see_what_moved(self) -> None:
        for group, base in zip(self._moving.optimizer.param_groups, self._base, strict=True):
            found = {key for key, value in base.items() if group.get(key, value) != value}
            self._moved |= found - {"initial_lr"}

    def refuse_early_end(self, total_steps: int) -> None:
        """UsageError if the scheduler can't go on to the last of `total_steps` steps."""
        self._groups_at(min(total_steps - 1, REPLAYED_STEPS))
        if self._has_ended:
            raise UsageError(
                f"the learning-rate scheduler {self.name} ends before the run, which has "
                f"{total_steps:,} steps",
                "leave its length out, and that of the run is filled in",
            )
        self._restart()


def make_torch_schedule(
    scheduler: Any,
    optimizer: Optimizer,
    *,
    total_steps: int,
    steps_per_epoch: int,
    every: Every = "auto",
    mode: Literal["max", "min"] = "max",
    options: Mapping[str, Any] | None = None,
) -> TorchSchedule | Plateau:
    """The schedule that `scheduler` describes for `optimizer`, which is left as it is.

    `scheduler` is a class, a partial of one, a function of the optimizer (`lambda optimizer:
    StepLR(optimizer, 3)`), an instance that was made on `optimizer`, or `file.py:Name`; `options`
    are more arguments for all but an instance. Lengths
    (T_max, total_steps) and max_lr are filled in where a class or partial leaves them open. It
    is stepped once a step or once an epoch; "auto" means each step for OneCycleLR and CyclicLR
    and each epoch for all others. ReduceLROnPlateau becomes a Plateau; `mode` says whether the
    monitored metric counts upwards. Raises UsageError.
    """
    if every not in ("auto", "step", "epoch"):
        raise UsageError(
            f"a scheduler is stepped every step or every epoch, got {printable(every)!r}",
            "give every='step' or every='epoch'",
        )
    found = load_object(scheduler, "scheduler") if isinstance(scheduler, str) else scheduler
    name = _name(found)
    if options and not callable(found):
        raise UsageError(
            f"schedule.options can't be applied to {name}, which is already made",
            "give its class instead, or set them where it is made",
        )
    found = partial(found, **options) if options else found
    is_each_step = every == "step" or (every == "auto" and _is_stepped_by_batch(found))
    steps_between = 1 if is_each_step else max(1, steps_per_epoch)
    if _is_plateau(found):
        found = _with_mode(found, mode)
    made = _make(found, name, optimizer, -(-total_steps // steps_between))
    if every == "auto" and isinstance(made, (OneCycleLR, CyclicLR)):  # a function made it
        steps_between = 1
    if isinstance(made, ReduceLROnPlateau):
        return _as_plateau(made, mode)
    schedule = TorchSchedule(made, optimizer, steps_between, type(made).__name__)
    schedule.refuse_early_end(total_steps)
    return schedule


def _make(found: Any, name: str, optimizer: Optimizer, length: int) -> Any:
    """A scheduler over a stand-in for `optimizer`."""
    stand_in = _stand_in(optimizer)
    if not callable(found):
        return _moved_over(found, optimizer, stand_in)
    for group in stand_in.param_groups:
        if group.get("initial_lr") == group["lr"]:  # each scheduler sets it, CyclicLR to base_lr
            del group["initial_lr"]
    arguments = _fill_in(found, name, optimizer, length)
    try:
        made = found(stand_in, **arguments)
    except LoupeError:
        raise
    except Exception as error:
        raise _failure(name, error) from error
    if getattr(made, "optimizer", None) is stand_in and hasattr(made, "step"):
        return made
    return _moved_over(made, optimizer, stand_in)


def _moved_over(scheduler: Any, optimizer: Optimizer, stand_in: Optimizer) -> Any:
    """A copy of a scheduler that was made on `optimizer`, over the stand-in."""
    own = getattr(scheduler, "optimizer", None)
    if not isinstance(own, Optimizer) or not hasattr(scheduler, "step"):
        raise UsageError(
            f"the schedule gave a {type(scheduler).__name__}, not a learning-rate scheduler",
            "give a class of torch.optim.lr_scheduler, or a function of the optimizer that "
            "returns a scheduler; a formula of your own is LambdaLR(optimizer, lambda step: ...)",
        )
    if own is not optimizer:
        raise UsageError(
            f"the scheduler {_name(scheduler)} was made on another optimizer than that of the run",
            "give that optimizer too, or a function: lambda optimizer: "
            f"{_name(scheduler)}(optimizer, ...)",
        )
    try:
        return copy.deepcopy(scheduler, {id(optimizer): stand_in})
    except Exception as error:
        raise UsageError(
            f"the scheduler {_name(scheduler)} can't be copied: {printable(error)}",
            f"give a function that makes it: lambda optimizer: {_name(scheduler)}(optimizer, ...)",
        ) from error


def _stand_in(optimizer: Optimizer) -> Optimizer:
    """An optimizer with the same groups, each over a single number that nothing trains."""
    groups = [
        {**_values(group), "params": [nn.Parameter(torch.zeros(()))]}
        for group in optimizer.param_groups
    ]
    defaults = {key: value for key, value in optimizer.defaults.items() if key != "params"}
    made = Optimizer(groups, defaults)
    _prepare(made)
    return made


def _prepare(optimizer: Any) -> None:
    """Stand in for an optimizer that has taken steps, which torch's schedulers check."""

    def step() -> None:
        """Nothing to do."""

    step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
    optimizer.step, optimizer._opt_called = step, True


def _values(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group without its parameters, its tensors as numbers."""
    return {
        key: value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
        for key, value in group.items()
        if key != "params"
    }


def _fill_in(found: Any, name: str, optimizer: Optimizer, length: int) -> dict[str, Any]:
    """What the signature asks for and the run can tell; UsageError for what it can't."""
    given = dict(found.keywords) if isinstance(found, partial) else {}
    parameters = (parameters_of(found) or [])[1:]  # the first is the optimizer
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    open_still = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in optional and p.name not in given
    ]
    filled: dict[str, Any] = {key: length for key in open_still if key in _LENGTHS}
    if "max_lr" in open_still:
        rates = [float(group["initial_lr"]) for group in optimizer.param_groups]
        filled["max_lr"] = rates if len(rates) > 1 else rates[0]
    if _kind(found) is OneCycleLR and not {"total_steps", "epochs", *filled} & given.keys():
        filled["total_steps"] = length
    missing = [key for key in open_still if key not in filled]
    if missing:
        raise UsageError(
            f"the scheduler {name} needs {', '.join(missing)}, which the run doesn't know",
            f"give it with functools.partial({name}, {missing[0]}=...)",
        )
    return filled


def _kind(found: Any) -> Any:
    """The class behind a class, a partial of one, or an instance; else what was given."""
    found = found.func if isinstance(found, partial) else found
    return found if inspect.isclass(found) or inspect.isroutine(found) else type(found)


def _is_stepped_by_batch(found: Any) -> bool:
    kind = _kind(found)
    return inspect.isclass(kind) and issubclass(kind, (OneCycleLR, CyclicLR))


def _is_plateau(found: Any) -> bool:
    kind = _kind(found)
    return inspect.isclass(kind) and issubclass(kind, ReduceLROnPlateau) and callable(found)


def _with_mode(found: Any, mode: str) -> Any:
    """The same class or partial, with the mode of the monitored metric where it names none."""
    bound = inspect.signature(_kind(found)).bind_partial(
        None, *(found.args if isinstance(found, partial) else ()),
        **(found.keywords if isinstance(found, partial) else {}),
    )  # fmt: skip
    return found if "mode" in bound.arguments else partial(found, mode=mode)


def _as_plateau(scheduler: ReduceLROnPlateau, mode: Literal["max", "min"]) -> Plateau:
    """The same rule as a Plateau, which is saved with the run."""
    if scheduler.mode != mode:
        raise UsageError(
            f"ReduceLROnPlateau has mode={scheduler.mode!r}, and the monitored metric counts "
            f"{'upwards' if mode == 'max' else 'downwards'}",
            f"give mode={mode!r}, or monitor "
            + ("the loss: --set train.monitor=val_loss" if mode == "max" else "val_accuracy"),
        )
    floors = {
        round(float(least) / float(group["lr"]), 12)
        for least, group in zip(scheduler.min_lrs, scheduler.optimizer.param_groups, strict=True)
    }
    if scheduler.threshold_mode != "rel" or len(floors) > 1:
        odd = "threshold_mode='abs'" if scheduler.threshold_mode != "rel" else "several min_lr"
        raise UsageError(
            f"ReduceLROnPlateau with {odd} is not supported",
            "use threshold_mode='rel', and one min_lr in proportion to the learning rate",
        )
    return Plateau(
        mode=mode,
        drop=float(scheduler.factor),
        patience=int(scheduler.patience),
        threshold=float(scheduler.threshold),
        cooldown=int(scheduler.cooldown),
        floor=floors.pop(),
    )


def _failure(name: str, error: Exception) -> UsageError:
    return refuse_failure(error, f"the scheduler {name}")


def _name(found: Any) -> str:
    kind = found.func if isinstance(found, partial) else found
    return printable(getattr(kind, "__name__", type(kind).__name__))
