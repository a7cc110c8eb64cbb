"""Learning-rate schedules: a multiplier of the base rate as a function of the step.

A Schedule is a pure value, so there is nothing to save. Only Plateau depends on results and has
state. Durations are steps; `total_steps` may change from call to call (a time budget).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torchloupe.errors import UsageError, did_you_mean, printable
from torchloupe.system.user_code import is_object_spec

_OPTIONS: dict[str, dict[str, Any]] = {
    "constant": {},
    "cosine": {"floor": 0.0},
    "onecycle": {"div_factor": 25.0, "final_div_factor": 1e4, "anneal": "cos"},
    "step": {"step_size": 0, "gamma": 0.1},
    "plateau": {
        "mode": "max",
        "factor": 0.1,
        "patience": 10,
        "threshold": 1e-4,
        "cooldown": 0,
        "floor": 0.0,
    },
}


@dataclass(frozen=True)
class Schedule:
    """A learning rate that depends on the step alone; see `make_schedule`."""

    name: str
    warmup_fraction: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def factor(self, step: int, total_steps: int) -> float:
        """The multiplier of the base rate for the step after `step` finished ones."""
        if self.name == "onecycle":
            return _one_cycle(step, total_steps, self.warmup_fraction or 0.3, self.options)
        warm, rest, rest_total = _after_warmup(step, total_steps, self.warmup_fraction)
        return warm if warm < 1 else _CURVES[self.name](rest, rest_total, self.options)


@dataclass
class Plateau:
    """A learning rate that is multiplied by `drop` after `patience` evaluations without gain.

    The rule of torch's ReduceLROnPlateau (threshold_mode "rel", eps 0), as a multiplier.
    """

    warmup_fraction: float = 0.0
    mode: Literal["max", "min"] = "max"  # accuracy counts upwards, loss downwards
    drop: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    cooldown: int = 0
    floor: float = 0.0
    scale: float = 1.0
    best: float | None = None
    evaluations_without_gain: int = 0
    cooldown_left: int = 0

    def factor(self, step: int, total_steps: int) -> float:
        """The multiplier of the base rate for the step after `step` finished ones."""
        warm, _, _ = _after_warmup(step, total_steps, self.warmup_fraction)
        return warm * self.scale

    def update(self, value: float) -> None:
        """Record an evaluation's result, and lower the rate when it is due."""
        if self._is_gain(value):
            self.best, self.evaluations_without_gain = value, 0
        else:
            self.evaluations_without_gain += 1
        if self.cooldown_left > 0:
            self.cooldown_left -= 1
            self.evaluations_without_gain = 0
        if self.evaluations_without_gain > self.patience:
            self.scale = max(self.scale * self.drop, self.floor)
            self.cooldown_left, self.evaluations_without_gain = self.cooldown, 0

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed run needs, as JSON values."""
        return {name: getattr(self, name) for name in _PLATEAU_STATE}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`; KeyError if a part is missing."""
        for name in _PLATEAU_STATE:
            setattr(self, name, state[name])

    def _is_gain(self, value: float) -> bool:
        if math.isnan(value):
            return False
        if self.best is None:
            return True
        if self.mode == "max":
            return value > self.best * (1 + self.threshold)
        return value < self.best * (1 - self.threshold)


_PLATEAU_STATE = ("scale", "best", "evaluations_without_gain", "cooldown_left")


def make_schedule(
    name: str,
    *,
    warmup_fraction: float = 0.0,
    total_steps: int,
    options: Mapping[str, Any] | None = None,
) -> Schedule | Plateau:
    """A schedule by name; UsageError for an unknown name or option.

    - `constant`
    - `cosine`: down to `floor` (a share of the base rate) along half a cosine.
    - `onecycle`: torch's OneCycleLR, without moving the momentum. Rises from 1/`div_factor` for
      `warmup_fraction` of the steps (0.3 when that is 0), falls to the start/`final_div_factor`;
      `anneal` is cos or linear.
    - `step`: times `gamma` every `step_size` steps (0: a third of all steps).
    - `plateau`: times `factor` after `patience` evaluations without gain; `mode` max or min,
      `threshold`, `cooldown`, `floor`.

    All but onecycle rise linearly over `warmup_fraction` of the steps first.
    """
    refuse_unknown(name)
    values = _checked(name, dict(options or {}), warmup_fraction)
    if name == "plateau":
        values["drop"] = values.pop("factor")
        return Plateau(warmup_fraction=warmup_fraction, **values)
    if name == "step" and not values["step_size"]:
        values["step_size"] = max(1, math.ceil(total_steps / 3))
    return Schedule(name, warmup_fraction, values)


def refuse_unknown(name: str) -> None:
    """UsageError for an unknown name; `file.py:Scheduler` is not loaded here."""
    if name not in _OPTIONS and not is_object_spec(name):
        raise UsageError(
            f"there is no schedule {printable(name)!r}", printable(did_you_mean(name, _OPTIONS))
        )


def _after_warmup(step: int, total_steps: int, fraction: float) -> tuple[float, int, int]:
    """The warm-up's multiplier (1 once it is over), then step and total of what follows it."""
    warmup_steps = round(fraction * total_steps)
    warm = (step + 1) / warmup_steps if step < warmup_steps else 1.0
    return warm, max(0, step - warmup_steps), max(1, total_steps - warmup_steps)


def _constant(_step: int, _total: int, _options: Mapping[str, Any]) -> float:
    return 1.0


def _cosine(step: int, total: int, options: Mapping[str, Any]) -> float:
    share = min(step / total, 1.0)
    floor = float(options["floor"])
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))


def _steps(step: int, _total: int, options: Mapping[str, Any]) -> float:
    return float(options["gamma"] ** (step // options["step_size"]))


_CURVES: dict[str, Callable[[int, int, Mapping[str, Any]], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "step": _steps,
}


def _one_cycle(step: int, total: int, rise: float, options: Mapping[str, Any]) -> float:
    """Smith and Topin 2018, "Super-convergence", with torch's two phases and their ends."""
    start = 1 / options["div_factor"]
    end = start / options["final_div_factor"]
    peak_step = max(rise * total - 1, 0.0)
    step = min(step, total - 1)
    if step < peak_step:
        return _anneal(start, 1.0, step / peak_step, options["anneal"])
    fall = max(total - 1 - peak_step, 1e-12)
    return _anneal(1.0, end, (step - peak_step) / fall, options["anneal"])


def _anneal(start: float, end: float, share: float, how: str) -> float:
    if how == "linear":
        return start + (end - start) * share
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def _checked(name: str, options: dict[str, Any], warmup_fraction: float) -> dict[str, Any]:
    """The options with their defaults filled in; everything wrong is reported at once."""
    known = _OPTIONS[name]
    problems = [
        f"{printable(key)} ({did_you_mean(key, known) if known else name + ' has no options'})"
        for key in options
        if key not in known
    ]
    if not 0 <= warmup_fraction <= 1:
        problems.append(f"warmup_fraction={warmup_fraction} (from 0 to 1)")
    values = {**known, **options}
    for key, value in values.items():
        if key in _WORDS:
            if value not in _WORDS[key]:
                problems.append(f"{key}={printable(value)} ({' or '.join(_WORDS[key])})")
        elif key in known and not _is_in_range(key, value):
            low, high, kind = _RANGES[key]
            problems.append(
                f"{key}={printable(value)} (a {kind.__name__} from {low:g} to {high:g})"
            )
    if problems:
        raise UsageError(
            f"the {name} schedule can't be made with " + "; ".join(printable(p) for p in problems),
            f"{name} takes " + (", ".join(known) if known else "warmup_fraction only"),
        )
    return values


_WORDS = {"anneal": ("cos", "linear"), "mode": ("max", "min")}
_RANGES: dict[str, tuple[float, float, type]] = {
    "floor": (0, 1, float),
    "div_factor": (1e-6, 1e12, float),
    "final_div_factor": (1e-6, 1e18, float),
    "step_size": (0, 1e15, int),
    "gamma": (0, 1e3, float),
    "factor": (0, 1, float),
    "patience": (0, 1e9, int),
    "threshold": (0, 1, float),
    "cooldown": (0, 1e9, int),
}


def _is_in_range(key: str, value: object) -> bool:
    low, high, kind = _RANGES[key]
    wanted = int if kind is int else (int, float)
    return isinstance(value, wanted) and not isinstance(value, bool) and low <= value <= high
