"""The arguments of `fit` and `resume` as settings, and the objects that no setting can hold."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torchloupe.config.schema import Config
from torchloupe.data.sources.source import Data
from torchloupe.errors import UsageError, printable
from torchloupe.model.import_paths import name_of
from torchloupe.model.wrapping import is_compiled, unwrap
from torchloupe.prepare.objects import UserObjects
from torchloupe.system.user_code import PYTHON_OBJECT
from torchloupe.trained.run import Run

LossLike = str | type[nn.Module] | Callable[[Tensor, Tensor], Tensor]
OptimizerLike = str | type[torch.optim.Optimizer] | Callable[..., torch.optim.Optimizer]
Recipe = str | Config | Mapping[str, Any] | None
SettingsLike = Mapping[str, Any] | Config | str | None

# Arguments of `fit` that are settings, with their dotted names.
NAMES = {
    "epochs": "train.epochs",
    "minutes": "train.minutes",
    "batch_size": "train.batch_total",
    "lr": "optimizer.lr",
    "seed": "train.seed",
    "device": "hardware.device",
}


def sort_arguments(
    model: Any, loss: Any, optimizer: Any, given: Mapping[str, Any], settings: SettingsLike
) -> tuple[dict[str, Any], Recipe, UserObjects]:
    """The arguments of `fit` as typed settings, the recipe, and the objects no setting can hold.

    UsageError if an argument and a setting say different things.
    """
    recipe: Any = settings if isinstance(settings, (str, Config)) else None
    typed: dict[str, Any] = dict(settings) if isinstance(settings, Mapping) else {}
    recipe = typed.pop("recipe", recipe)
    for argument, value in given.items():
        name = NAMES[argument]
        if value is not None and typed.setdefault(name, value) != value:
            raise UsageError(
                f"{argument}={value} and settings[{name!r}]={typed[name]} contradict each other",
                "leave one of them out",
            )
    if typed.get("train.epochs") and typed.get("train.minutes"):
        raise UsageError(
            "both epochs and minutes were given, and either one decides when training ends",
            "leave one of them out",
        )
    if isinstance(model, nn.Module) and is_compiled(model):
        typed.setdefault("hardware.compile", True)
    teacher = typed.get("distill.teacher")
    if isinstance(teacher, (Run, Path)):
        typed["distill.teacher"] = str(getattr(teacher, "folder", teacher))
    objects = sort_objects(typed, model=model, loss=loss, optimizer=optimizer)
    if isinstance(teacher, Run):
        objects = replace(objects, teacher=teacher)
    return typed, recipe, objects


def sort_objects(
    typed: dict[str, Any], *, model: Any = None, loss: Any = None, optimizer: Any = None
) -> UserObjects:
    """The objects that no setting can hold; `typed` gets the names and options of all others.

    "auto" and None are not given. A scheduler is taken out of `typed`. What torch itself can make
    again is named by its import path (model/import_paths.py).
    """
    objects: dict[str, Any] = {}
    schedule = typed.pop("schedule", None)
    given = {"model": model, "loss": loss, "optimizer": optimizer, "schedule": schedule}
    for what, value in given.items():
        if value is None or (isinstance(value, str) and value == "auto"):
            continue
        _refuse_two_names(what, value, typed)
        if isinstance(value, str):
            typed[f"{what}.name"] = value
            continue
        is_made = isinstance(value, nn.Module)
        own = [name for name in typed if name.split(".")[:2] == [what, "options"]]
        if own and is_made:
            raise UsageError(
                f"{own[0]} can't be applied to a {what} that is already made",
                "give its class instead, or set them where it is made",
            )
        is_text = isinstance(typed.get(f"{what}.options"), str)  # which is read later
        named = None if what == "model" or is_text else name_of(what, value)
        if named is None:
            typed[f"{what}.name"] = PYTHON_OBJECT
        else:
            _add_named(what, named, typed)
        if named is None or is_made:
            objects[what] = unwrap(value) if what == "model" and is_made else value
    return UserObjects(**objects)


def _refuse_two_names(what: str, value: Any, typed: Mapping[str, Any]) -> None:
    name = typed.get(f"{what}.name", "auto")
    if name in ("auto", value if isinstance(value, str) else ""):
        return
    argument = f'settings["{what}"]' if what == "schedule" else what
    raise UsageError(
        f'{argument} and settings["{what}.name"]={printable(name)!r} both say which {what}',
        "leave one of them out",
    )


def _add_named(what: str, named: dict[str, Any], typed: dict[str, Any]) -> None:
    """Put the name and options of what torch can make into `typed`, whose own options win."""
    options = dict(named.get(f"{what}.options", {}))
    typed[f"{what}.name"] = named[f"{what}.name"]
    if what == "optimizer":  # these have settings of their own
        for key in {"lr", "weight_decay"} & options.keys():
            typed.setdefault(f"{what}.{key}", options.pop(key))
    whole = typed.pop(f"{what}.options", None)
    options |= whole if isinstance(whole, Mapping) else {}
    if options:
        typed[f"{what}.options"] = options
    for name in [name for name in typed if name.startswith(f"{what}.options.")]:
        typed[name] = typed.pop(name)  # after the whole, which it changes


def name_source(source: Any) -> dict[str, Any]:
    """The settings that open `source` again: its name, and the options it was opened with."""
    if isinstance(source, Data) and source.origin:
        options = {f"data.{name}": value for name, value in source.opened_with.items()}
        return {"data.source": source.origin, **options}
    return {"data.source": str(source) if isinstance(source, (str, Path)) else PYTHON_OBJECT}
