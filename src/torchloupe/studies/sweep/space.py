"""What a sweep tries: ranges and lists of values, by the dotted names of settings.

Everything is refused here that can be refused before a trial: unknown names and values, values
that would change which images are validated, and losses compared by different losses.
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from torchloupe.config.schema import Config, flatten
from torchloupe.config.text import change
from torchloupe.errors import UsageError, printable
from torchloupe.prepare.objects import NO_OBJECTS, refuse_misspelt

_NUMBER = r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.(?!\.)({_NUMBER})((?::[a-z]+(?:=[^:]*)?)*)")
_LOOKS_LIKE_A_RANGE = re.compile(r"\s*[-+.\d][-+.\de]*\.\.")
_EXAMPLES = "for example --try optimizer.lr=1e-4..1e-2:log or --try model.name=cnn,residual"
_MOST_LISTED = 100_000  # combinations that are listed to find one that was not tried yet

# Settings that decide which images are validated and by what, and those of the sweep itself.
_SAME_IMAGES = {
    *("data.source", "data.image_column", "data.label_column", "data.label_separator"),
    *("data.image_folder", "data.split_column", "data.layout", "data.class_names"),
    *("data.val_fraction", "data.test_fraction", "data.folds", "data.fold", "data.split_seed"),
    *("data.group", "data.bad_fraction"),
}
_SAME = "all trials are validated on the same images"
_NOT_TRIED = {
    "train.seed": "--repeat trains the best settings with other seeds",
    "train.monitor": "it is what trials are compared by",
    "train.test": "the winner alone is tested",
    "train.report": "it changes no result",
    "train.minutes": "trials would be compared by the speed of the machine",
    "track": "it changes no result",
    **dict.fromkeys(
        ("hardware.device", "hardware.gpus", "hardware.parallel"), "all trials use the same device"
    ),
}


@dataclass(frozen=True)
class Dimension:
    """One setting that is tried: a list of `choices`, or a range of numbers with both ends."""

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0  # 0: any number, or any whole one
    is_log: bool = False
    is_whole: bool = False

    @property
    def is_range(self) -> bool:
        """Whether numbers of a range are tried, not the values of a list."""
        return not self.choices

    def ends(self) -> tuple[Any, ...]:
        """Values that stand for all: the choices, or both ends of the range."""
        if not self.is_range:
            return self.choices
        return tuple(int(end) if self.is_whole else end for end in (self.low, self.high))

    def values(self) -> tuple[Any, ...] | None:
        """Every value, or None where there is no end of them."""
        if not self.is_range:
            return self.choices
        if not self.is_whole and not self.step:
            return None
        step = self.step or 1
        count = math.floor((self.high - self.low) / step + 1e-9) + 1
        if count > _MOST_LISTED:
            return None
        found = [_add_steps(self.low, step, k) for k in range(count)]
        return tuple(int(value) for value in found) if self.is_whole else tuple(found)

    def place(self, value: Any) -> float:
        """Where `value` stands on an axis from 0 to 1."""
        if not self.is_range:
            last = max(len(self.choices) - 1, 1)
            return self.choices.index(value) / last
        low, high, at = self.low, self.high, float(value)
        if self.is_log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low) if high > low else 0.5

    def as_json(self) -> dict[str, Any]:
        """Plain values, for sweep.json."""
        return {**asdict(self), "choices": list(self.choices)}


Space = tuple[Dimension, ...]


def read_dimension(content: Mapping[str, Any]) -> Dimension:
    """The Dimension that `as_json` wrote."""
    return Dimension(**{**content, "choices": tuple(content["choices"])})


def spell(value: Any, limit: int = 60) -> str:
    """A tried value as people read it."""
    return f"{value:.4g}" if isinstance(value, float) else printable(value, limit)


def parse_tries(assignments: Sequence[str]) -> dict[str, str]:
    """`{"optimizer.lr": "1e-4..1e-2:log"}` from the texts of `--try`."""
    found: dict[str, str] = {}
    for text in assignments:
        name, equals, values = text.partition("=")
        name = name.strip()
        if not equals or not name or not values.strip():
            raise UsageError(f"--try takes name=values, got {printable(text)!r}", _EXAMPLES)
        if name in found:
            raise UsageError(
                f"{printable(name)} is tried twice: {printable(found[name])} and "
                f"{printable(values)}",
                "give all its values in one --try",
            )
        found[name] = values.strip()
    return found


def make_space(tries: Mapping[str, Any], base: Config) -> Space:
    """The space of `tries` (a text as of `--try`, or a list of values, by setting), all checked.

    Raises UsageError for a name or value that no setting takes, with the nearest that there is.
    """
    if not tries:
        raise UsageError("there is nothing to try", _EXAMPLES)
    _refuse_names(tries, base)
    space = tuple(_read_values(name, values, base) for name, values in tries.items())
    for dimension in space:
        for value in dimension.ends():
            refuse_misspelt(change(base, {dimension.name: value}), NO_OBJECTS)
    return space


def count_combinations(space: Space) -> int | None:
    """How many different trials there are; None where there is no end of them."""
    parts = [dimension.values() for dimension in space]
    return None if any(part is None for part in parts) else math.prod(len(p or ()) for p in parts)


def list_combinations(space: Space) -> Iterator[dict[str, Any]]:
    """Every combination of a space of few, the first name changing slowest."""
    names = [dimension.name for dimension in space]
    for values in itertools.product(*(dimension.values() or () for dimension in space)):
        yield dict(zip(names, values, strict=True))


def _refuse_names(tries: Mapping[str, Any], base: Config) -> None:
    known = flatten(base)
    options = [name for name, value in known.items() if isinstance(value, dict)]
    strangers = [n for n in tries if n not in known and n.rpartition(".")[0] not in options]
    refused = {**dict.fromkeys(_SAME_IMAGES, _SAME), **_NOT_TRIED}
    for name in strangers:
        meant = [one for one in refused if one.rpartition(".")[2] == name.rpartition(".")[2]]
        can_be = [one for one in known if one.rpartition(".")[2] == name.rpartition(".")[2]]
        if meant and meant == can_be:
            raise UsageError(
                f"{printable(name)} is no setting, and {meant[0]} can't be tried: "
                f"{refused[meant[0]]}",
                "leave it out",
            )
    if strangers:
        change(base, dict.fromkeys(strangers))  # raises, with the nearest names
    for name in tries:
        if name in _SAME_IMAGES:
            raise UsageError(
                f"{name} can't be tried: {_SAME}",
                f"set it for all of them: --set {name}=...",
            )
        if name in _NOT_TRIED or name.partition(".")[0] == "check":
            reason = _NOT_TRIED.get(name, "it changes no result")
            raise UsageError(f"{name} can't be tried: {reason}", "leave it out")
        if name.startswith("loss.") and base.train.monitor == "val_loss":
            raise UsageError(
                f"{name} can't be tried while train.monitor is val_loss, which it changes",
                "compare trials by accuracy: --set train.monitor=val_accuracy",
            )


def _read_values(name: str, values: Any, base: Config) -> Dimension:
    if isinstance(values, str):
        match = _RANGE.fullmatch(values.replace(" ", ""))
        if match:
            return _read_range(name, values, match, base)
        if _LOOKS_LIKE_A_RANGE.match(values):
            raise UsageError(
                f"{name}={printable(values)} is no range",
                "a range is LOW..HIGH, LOW..HIGH:log or LOW..HIGH:step=S",
            )
        values = [item.strip() for item in values.split(",") if item.strip()]
    if not isinstance(values, (list, tuple)):
        raise UsageError(
            f"{name} is tried with {printable(values)}", "give a list of values, or a range as text"
        )
    choices = tuple(values)
    if len(set(map(str, choices))) < len(choices):
        raise UsageError(f"{name} is tried with a value twice", "leave one of them out")
    if len(choices) < 2:
        raise UsageError(
            f"{name} is tried with one value, {printable(', '.join(map(str, choices)))}",
            f"give several, or set it for all trials: --set {name}=...",
        )
    for choice in choices:
        if not isinstance(choice, (str, int, float, bool)) and choice is not None:
            raise UsageError(
                f"{name} is tried with {printable(choice)}",
                "give each value as a number or text, as after --set",
            )
    return Dimension(name, choices)


def _read_range(name: str, text: str, match: re.Match[str], base: Config) -> Dimension:
    given = flatten(base).get(name)
    is_option = name not in flatten(base)
    if not is_option and (isinstance(given, (str, bool, tuple)) or name == "data.size"):
        raise UsageError(f"{name} takes no range of numbers", f"list its values: --try {name}=A,B")
    low, high, step, is_log = float(match[1]), float(match[2]), 0.0, False
    for word in match[3].split(":")[1:]:
        key, _, amount = word.partition("=")
        if key == "log" and not amount:
            is_log = True
        elif key == "step" and re.fullmatch(_NUMBER, amount) and float(amount) > 0:
            step = float(amount)
        else:
            raise UsageError(
                f"{name}={printable(text)}: {printable(word)} is unknown",
                "a range is LOW..HIGH, LOW..HIGH:log or LOW..HIGH:step=S",
            )
    whole_ends = all(float(part).is_integer() for part in (match[1], match[2], step or 1))
    is_whole = isinstance(given, int) or (
        is_option and bool(re.fullmatch(r"[-+]?\d+", match[1]) and re.fullmatch(r"\d+", match[2]))
    )
    problem = (
        f"its low end {match[1]} is not below its high end {match[2]}"
        if low >= high
        else "a logarithmic range begins above 0"
        if is_log and low <= 0
        else "a range has a step or is logarithmic, not both"
        if is_log and step
        else "it takes whole numbers"
        if is_whole and not whole_ends
        else "its step is larger than the range"
        if step > high - low
        else ""
    )
    if problem:
        raise UsageError(f"{name}={printable(text)}: {problem}", _EXAMPLES)
    if step:  # the last value that the step reaches
        high = _add_steps(low, step, math.floor((high - low) / step + 1e-9))
    return Dimension(name, (), low, high, step, is_log, is_whole)


def _add_steps(low: float, step: float, count: int) -> float:
    """`low` and so many steps, as they are written: 0.3, not 0.1 + 0.1 + 0.1."""
    return float(Decimal(str(low)) + count * Decimal(str(step)))
