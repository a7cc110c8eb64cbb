"""Networks by name: the zoo's, torchvision's, timm's, or a class from the user's own file.

They have random weights unless the options ask for pretrained ones.
"""

import inspect
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchloupe.errors import LoupeError, UsageError, did_you_mean, printable
from torchloupe.lens.copies import copy_model, deep_copy
from torchloupe.model import libraries
from torchloupe.model.constructor import name_arguments
from torchloupe.model.signature import parameters_of
from torchloupe.model.wrapping import unwrap
from torchloupe.model.zoo import CNN, Net, ResidualNet
from torchloupe.system.user_code import is_object_spec, load_object

ZOO: Mapping[str, type[nn.Module]] = {"net": Net, "cnn": CNN, "residual": ResidualNet}


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
    with those facts of the data that its signature names (in_channels, num_classes, img_size and
    others, see constructor.py), and with `options`. Raises UsageError.
    """
    given = dict(options or {})
    facts = _facts(in_channels, classes, image_size)
    if not isinstance(model, str):
        return _build(model, _name(model), facts, given)
    if model.lower() in ZOO:
        return _call(ZOO[model.lower()], model.lower(), facts, given)[0]
    refuse_unknown(model)
    library, _, name = model.partition(":")
    if is_library_model(model):
        make = libraries.MAKERS[library]
        return make(
            name, in_channels=in_channels, classes=classes, image_size=image_size, options=given
        )
    found = load_object(model, "model")
    if isinstance(found, nn.Module):  # its file keeps it: another run must not train this one
        found = copy_model(found)
    return _build(found, printable(model), facts, given)


def is_library_model(model: str) -> bool:
    """Whether `model` names a network of torchvision or timm."""
    library, colon, _ = model.partition(":")
    return bool(colon) and library in libraries.MAKERS


def load_named_code(model: object) -> None:
    """Load the file or module that `model` is from, if it is a name of the user's own code."""
    if isinstance(model, str) and is_object_spec(model) and not is_library_model(model):
        load_object(model, "model")


def refuse_unknown(model: str) -> None:
    """UsageError for an unknown name; `file.py:Name` is not loaded here."""
    library, _, name = model.partition(":")
    if is_library_model(model):
        libraries.refuse_unknown(library, name)
    elif model.lower() not in ZOO and not is_object_spec(model):
        raise _unknown(model)


def model_names(library: str = "") -> list[str]:
    """The names of the zoo, or of "torchvision" or "timm", as `make_model` takes them."""
    if not library:
        return list(ZOO)
    return [f"{library}:{name}" for name in libraries.names(library)]


def without_weights(options: Mapping[str, Any]) -> dict[str, Any]:
    """Model options without those that fetch weights, for a network that is loaded from a run."""
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
    return _call(found, name, facts, options)[0]


def find_arguments(
    factory: Callable[..., Any],
    *,
    in_channels: int,
    classes: int,
    image_size: tuple[int, int],
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The keyword arguments with which `make_model` calls a class or function."""
    facts = _facts(in_channels, classes, image_size)
    return _call(factory, _name(factory), facts, dict(options or {}))[1]


def _facts(in_channels: int, classes: int, image_size: tuple[int, int]) -> dict[str, Any]:
    return {
        "in_channels": in_channels,
        "classes": classes,
        "image_size": image_size,
        "input_shape": (in_channels, *image_size),
    }


def _call(
    factory: Callable[..., Any], name: str, facts: Mapping[str, Any], options: dict[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    """What `factory` makes, and the arguments it was called with."""
    parameters = parameters_of(factory)
    signature = f"{_name(factory)}({', '.join(str(p) for p in parameters or ())})"
    readings = [{**reading, **options} for reading in name_arguments(parameters or [], facts)]
    readings = [reading for n, reading in enumerate(readings) if reading not in readings[:n]]
    if parameters is not None:
        _check_names(name, signature, parameters, readings[0], options)
    made, tried, failure = _first_that_runs(factory, readings, facts["input_shape"])
    if failure is not None:
        raise UsageError(
            f"model {name} can't be made with {_spell(tried)}: {_place(failure, factory)}"
            f"{type(failure).__name__}: {printable(failure)}",
            _construction_hint(failure, signature),
        ) from failure
    if not isinstance(made, nn.Module):
        raise UsageError(
            f"model {name} gave a {type(made).__name__}, not an nn.Module",
            "return the network from it"
            if not inspect.isclass(factory)
            else "make it a subclass of torch.nn.Module",
        )
    return unwrap(made), tried


def _first_that_runs(
    factory: Callable[..., Any], readings: list[dict[str, Any]], input_shape: tuple[int, ...]
) -> tuple[Any, dict[str, Any], Exception | None]:
    """What `factory` makes of the first arguments with which the model takes the images.

    Where none does, what it made first; and the error where it made nothing at all, with the
    fewest arguments: others were only tried.
    """
    found: list[tuple[Any, dict[str, Any], None]] = []
    failures: list[tuple[None, dict[str, Any], Exception]] = []
    for arguments in readings:
        try:
            made = factory(**arguments)
        except (LoupeError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            failures.append((None, arguments, error))
            continue
        if len(readings) == 1 or _runs(made, input_shape):
            return made, arguments, None
        found.append((made, arguments, None))
    return found[0] if found else min(failures, key=lambda failure: len(failure[1]))


def _runs(model: Any, input_shape: tuple[int, ...]) -> bool:
    """Whether a copy of the model takes images of this shape; random states are put back."""
    if not isinstance(model, nn.Module):
        return True
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            twin = deep_copy(model, model)
            twin.eval()
            twin(torch.zeros(2, *input_shape))
    except torch.OutOfMemoryError:
        raise
    except Exception:
        return False
    return True


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
    """`my_model.py, line 12: `, where the user's own code raised; empty if it did not."""
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
