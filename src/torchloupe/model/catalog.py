"""A name becomes a network: the zoo's, torchvision's, timm's, or a class from a file of one's own.

What is made has random weights unless its options ask for pretrained ones.
"""

import inspect
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchloupe.errors import LoupeError, UsageError, did_you_mean, printable
from torchloupe.model import libraries
from torchloupe.model.signature import parameters_of
from torchloupe.model.wrapping import unwrap
from torchloupe.model.zoo import CNN, Net, ResidualNet
from torchloupe.system.user_code import is_object_spec, load_object

ZOO: Mapping[str, type[nn.Module]] = {"net": Net, "cnn": CNN, "residual": ResidualNet}

_SPELLINGS = {
    "in_channels": (
        "in_channels", "in_chans", "in_ch", "input_channels", "num_channels", "n_channels",
    ),
    "classes": (
        "classes", "num_classes", "n_classes", "nb_classes", "number_of_classes", "class_count",
        "num_labels", "n_labels", "out_classes", "num_outputs", "n_outputs",
    ),
    "image_size": ("image_size", "img_size", "input_size"),
    "input_shape": ("input_shape", "image_shape", "in_shape"),
}  # fmt: skip


def make_model(
    model: str | Callable[..., nn.Module] | nn.Module,
    *,
    in_channels: int,
    classes: int,
    image_size: tuple[int, int],
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A network for images of `in_channels` and `image_size` (height, width).

    `model` is net, cnn or residual; `torchvision:NAME` or `timm:NAME`; `file.py:Name` or
    `package.module:Name`; or a class, function or module itself. A class or function is called
    with those of in_channels, classes, image_size and input_shape that its signature names (also
    as num_classes, in_chans, ...), and with `options`. Raises UsageError.
    """
    given = dict(options or {})
    facts = {
        "in_channels": in_channels,
        "classes": classes,
        "image_size": image_size,
        "input_shape": (in_channels, *image_size),
    }
    if not isinstance(model, str):
        return _build(model, _name(model), facts, given)
    if model.lower() in ZOO:
        return _call(ZOO[model.lower()], model.lower(), facts, given)
    refuse_unknown(model)
    library, _, name = model.partition(":")
    if library in libraries.MAKERS:
        make = libraries.MAKERS[library]
        return make(
            name, in_channels=in_channels, classes=classes, image_size=image_size, options=given
        )
    return _build(load_object(model, "model"), printable(model), facts, given)


def refuse_unknown(model: str) -> None:
    """UsageError for a name that no model has. What a file holds is not looked at."""
    library, colon, name = model.partition(":")
    if colon and library in libraries.MAKERS:
        libraries.refuse_unknown(library, name)
    elif model.lower() not in ZOO and not is_object_spec(model):
        raise _unknown(model)


def model_names(library: str = "") -> list[str]:
    """The zoo's names, or all of "torchvision" or "timm" as this command takes them."""
    if not library:
        return list(ZOO)
    return [f"{library}:{name}" for name in libraries.names(library)]


def without_weights(options: Mapping[str, Any]) -> dict[str, Any]:
    """Model options without those that fetch weights: for a network that gets a run's own."""
    return {key: value for key, value in options.items() if key not in libraries.WEIGHT_OPTIONS}


def _build(found: Any, name: str, facts: Mapping[str, Any], options: dict[str, Any]) -> nn.Module:
    if isinstance(found, nn.Module):
        if options:
            raise UsageError(
                f"model.options can't be applied to {name}, which is already made",
                "name its class or a function that makes it, or set them where it is made",
            )
        return unwrap(found)
    if not callable(found):
        raise UsageError(
            f"model {name} is a {type(found).__name__}, not an nn.Module or a class or function "
            "that makes one",
            "name a subclass of torch.nn.Module",
        )
    return _call(found, name, facts, options)


def _call(
    factory: Callable[..., Any], name: str, facts: Mapping[str, Any], options: dict[str, Any]
) -> nn.Module:
    parameters = parameters_of(factory)
    signature = f"{_name(factory)}({', '.join(str(p) for p in parameters or ())})"
    arguments = {**_supply(parameters, facts), **options}
    if parameters is not None:
        _check_names(name, signature, parameters, arguments, options)
    try:
        made = factory(**arguments)
    except (LoupeError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise UsageError(
            f"model {name} can't be made with {_spell(arguments)}: {_place(error, factory)}"
            f"{type(error).__name__}: {printable(error)}",
            _construction_hint(error, signature),
        ) from error
    if not isinstance(made, nn.Module):
        raise UsageError(
            f"model {name} gave a {type(made).__name__}, not an nn.Module",
            "return the network from it"
            if not inspect.isclass(factory)
            else "make it a subclass of torch.nn.Module",
        )
    return unwrap(made)


def _supply(parameters: list[inspect.Parameter] | None, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Those facts of the data that the signature names."""
    supplied = {}
    for parameter in parameters or ():
        for fact, spellings in _SPELLINGS.items():
            if parameter.name.lower() in spellings and parameter.kind is not parameter.VAR_KEYWORD:
                value = facts[fact]
                if fact == "image_size" and _wants_one_number(parameter) and value[0] == value[1]:
                    value = value[0]
                supplied[parameter.name] = value
    return supplied


def _wants_one_number(parameter: inspect.Parameter) -> bool:
    return parameter.annotation in (int, "int") or isinstance(parameter.default, int)


def _check_names(
    name: str,
    signature: str,
    parameters: list[inspect.Parameter],
    arguments: Mapping[str, Any],
    options: Mapping[str, Any],
) -> None:
    """Refuse options that the signature lacks, and required arguments that nothing supplies."""
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    unknown = [key for key in options if key not in known]
    if unknown and not takes_any:
        near = did_you_mean(unknown[0], known) + "; " if known else ""
        raise UsageError(
            f"model {name} has no option {', '.join(printable(key) for key in unknown)}",
            printable(f"{near}its signature is {signature}", 400),
        )
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    missing = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in optional and p.name not in arguments
    ]
    if missing:
        raise UsageError(
            f"model {name} needs {', '.join(missing)}, which the data don't tell: its signature "
            f"is {printable(signature, 400)}",
            f"give it as --set model.options.{missing[0]}=VALUE, or give it a default",
        )


def _construction_hint(error: Exception, signature: str) -> str:
    if "before Module.__init__() call" in str(error):
        return "call super().__init__() first in its __init__"
    return printable(
        f"its signature is {signature}; set arguments as --set model.options.NAME=VALUE", 400
    )


def _place(error: Exception, factory: Callable[..., Any]) -> str:
    """`my_model.py, line 12: `, where the user's own code raised; empty where it did not."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(factory))
    except TypeError:
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if file and frame.filename == file]
    return f"{printable(Path(file).name)}, line {lines[-1]}: " if file and lines else ""


def _name(found: Any) -> str:
    return printable(getattr(found, "__name__", type(found).__name__))


def _spell(arguments: Mapping[str, Any]) -> str:
    spelled = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return printable(spelled) if spelled else "no arguments"


def _unknown(name: str) -> UsageError:
    elsewhere = [
        spec
        for library in libraries.MAKERS
        for spec in model_names(library)
        if spec == f"{library}:{name}"
    ]
    if elsewhere:
        hint = "did you mean " + " or ".join(elsewhere) + "?"
    else:
        hint = (
            did_you_mean(name.lower(), ZOO)
            + " (others: torchvision:NAME, timm:NAME, your own: file.py:Class)"
        )
    return UsageError(f"there is no model {printable(name)!r}", hint)
