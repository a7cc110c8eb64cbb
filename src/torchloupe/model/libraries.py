"""Networks of torchvision and timm, adapted to the channels and classes of the data.

A library is imported when one of its networks is named, since that takes up to a second. Weights
are fetched only when the options ask for them.
"""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchloupe.errors import LoupeError, UsageError, did_you_mean, printable

WEIGHT_OPTIONS = ("pretrained", "weights", "checkpoint_path", "pretrained_cfg_overlay")


def make_torchvision(
    name: str,
    *,
    in_channels: int,
    classes: int,
    image_size: tuple[int, int],
    options: Mapping[str, Any],
) -> nn.Module:
    """A classifier of torchvision with `classes` outputs and a first convolution of `in_channels`.

    Options are passed to its builder; with `pretrained` true or `weights` NAME it has ImageNet
    weights and a new last layer. inception_v3 and googlenet have no auxiliary outputs here.
    """
    models = importlib.import_module("torchvision.models")
    arguments = dict(options)
    wanted = arguments.pop("weights", None) or (
        "DEFAULT" if arguments.pop("pretrained", False) else None
    )
    arguments.pop("pretrained", None)
    if name in ("inception_v3", "googlenet"):
        if arguments.get("aux_logits"):
            raise UsageError(
                f"torchvision:{name} with aux_logits gives several outputs, training takes one",
                "leave model.options.aux_logits out",
            )
        arguments["aux_logits"] = False
        if not wanted:
            arguments.setdefault("init_weights", True)
    if wanted:
        weights = _torchvision_weights(models, name, str(wanted))
        model = _construct(f"torchvision:{name}", models.get_model, name, weights, arguments)
        replace_last_layer(model, len(weights.meta["categories"]), classes)
    else:
        if name.startswith("vit_") and image_size[0] == image_size[1]:
            arguments.setdefault("image_size", image_size[0])
        if name == "maxvit_t":
            arguments.setdefault("input_size", image_size)
        arguments.setdefault("num_classes", classes)
        model = _construct(f"torchvision:{name}", models.get_model, name, None, arguments)
    if in_channels != 3:
        replace_first_convolution(model, in_channels, keep=bool(wanted))
    return model


def make_timm(
    name: str,
    *,
    in_channels: int,
    classes: int,
    image_size: tuple[int, int],
    options: Mapping[str, Any],
) -> nn.Module:
    """A network of timm with `classes` outputs for `in_channels`; options go to `create_model`."""
    timm = importlib.import_module("timm")
    is_here = ":" not in name
    arguments = {"num_classes": classes, "in_chans": in_channels, **options}
    facts = timm.get_pretrained_cfg(name, allow_unregistered=True) if is_here else None
    if facts is not None:
        if getattr(facts, "fixed_input_size", False):
            arguments.setdefault("img_size", image_size)
        has_file = arguments.get("pretrained_cfg_overlay") or arguments.get("checkpoint_path")
        if arguments.get("pretrained") and not facts.has_weights and not has_file:
            raise UsageError(
                f"timm has no pretrained weights for {printable(name)}",
                "leave model.options.pretrained out, or name another model",
            )
    overlay = arguments.get("pretrained_cfg_overlay") or {}
    for file in (arguments.get("checkpoint_path"), overlay.get("file")):
        if file:
            _refuse_code(Path(file))
    try:
        model: nn.Module = timm.create_model(name, **arguments)
    except (LoupeError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if arguments.get("pretrained"):
            raise _unreachable(
                f"timm:{printable(name)}",
                error,
                "fetch them where there is a connection and copy the cache (HF_HOME), or give a "
                'file: --set model.options.pretrained_cfg_overlay={"file": "model.safetensors"}',
            ) from error
        raise _unusable(f"timm:{printable(name)}", error, options) from error
    return model


def _refuse_code(path: Path) -> None:
    """UsageError if a weights file holds more than tensors, which unpickling could run.

    Checked here, since not every version of timm loads with weights_only.
    """
    if not path.is_file() or path.suffix in (".safetensors", ".npz", ".npy"):
        return
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UsageError(
            f"{printable(path)} is not read: it is not a file of tensors only "
            f"({type(error).__name__}: {printable(str(error).strip().partition(chr(10))[0], 120)})",
            "save it with torch.save(model.state_dict(), ...), or as .safetensors",
        ) from None


Maker = Callable[..., nn.Module]
MAKERS: Mapping[str, Maker] = {"torchvision": make_torchvision, "timm": make_timm}


def names(library: str) -> list[str]:
    """The names of a library's classifiers."""
    if library == "torchvision":
        models = importlib.import_module("torchvision.models")
        return list(models.list_models(module=models))
    if library == "timm":
        return list(importlib.import_module("timm").list_models())
    raise UsageError(f"there is no library {printable(library)!r}", did_you_mean(library, MAKERS))


def refuse_unknown(library: str, name: str) -> None:
    """UsageError for a name that the library lacks; timm's names with hf-hub: are not checked."""
    plain = name.partition(".")[0]
    if library == "timm":
        if ":" not in name and not importlib.import_module("timm").is_model(plain):
            raise UsageError(
                f"timm has no model {printable(name)!r}", did_you_mean(plain, names("timm"))
            )
    elif name not in names(library):
        raise UsageError(
            f"{library} has no classifier {printable(name)!r}", did_you_mean(name, names(library))
        )


def replace_first_convolution(model: nn.Module, in_channels: int, *, keep: bool = False) -> None:
    """Replace the model's first convolution over 3 channels by one over `in_channels`.

    With `keep` the filters are kept: summed over colours for one channel, repeated for more.
    """
    found = [
        (path, layer)
        for path, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.in_channels == 3 and layer.groups == 1
    ]
    if not found:
        raise UsageError(
            f"{type(model).__name__} has no first convolution over 3 channels to replace",
            "use images in colour: --set data.mode=RGB",
        )
    path, layer = found[0]
    fresh = nn.Conv2d(
        in_channels,
        layer.out_channels,
        layer.kernel_size,  # type: ignore[arg-type]
        layer.stride,  # type: ignore[arg-type]
        layer.padding,  # type: ignore[arg-type]
        layer.dilation,  # type: ignore[arg-type]
        bias=layer.bias is not None,
        padding_mode=layer.padding_mode,
    )
    if keep:
        with torch.no_grad():
            picks = torch.arange(in_channels) % 3
            filters = layer.weight[:, picks] * (3 / in_channels)
            if in_channels == 1:
                filters = layer.weight.sum(dim=1, keepdim=True)
            fresh.weight.copy_(filters)
            if layer.bias is not None and fresh.bias is not None:
                fresh.bias.copy_(layer.bias)
    _put(model, path, fresh)


def replace_last_layer(model: nn.Module, was: int, classes: int) -> None:
    """Replace the model's last layer of `was` outputs (linear, convolution) by one of `classes`."""
    found: tuple[str, nn.Module] | None = None
    for path, layer in model.named_modules():
        if isinstance(layer, nn.Linear) and layer.out_features == was:
            fresh: nn.Module = nn.Linear(layer.in_features, classes, layer.bias is not None)
        elif isinstance(layer, nn.Conv2d) and layer.out_channels == was:
            fresh = nn.Conv2d(layer.in_channels, classes, layer.kernel_size)  # type: ignore[arg-type]
        else:
            continue
        found = path, fresh
    if found is None:
        raise UsageError(
            f"{type(model).__name__} has no last layer of {was} outputs to replace",
            "train it from scratch: leave model.options.pretrained out",
        )
    _put(model, *found)


def _put(model: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, layer)


def _construct(
    spec: str,
    get_model: Callable[..., nn.Module],
    name: str,
    weights: Any,
    arguments: Mapping[str, Any],
) -> nn.Module:
    try:
        return get_model(name, weights=weights, **arguments)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise _unusable(spec, error, arguments) from error


def _torchvision_weights(models: Any, name: str, wanted: str) -> Any:
    """The weights' entry, once their file is here and holds tensors only.

    The builder unpickles the file; loading it here first with weights_only makes sure that
    nothing in it can run.
    """
    kinds = models.get_model_weights(name)
    entry = kinds.__members__.get(wanted.upper())
    if entry is None:
        raise UsageError(
            f"torchvision:{name} has no weights {printable(wanted)!r}",
            did_you_mean(wanted.upper(), list(kinds.__members__)),
        )
    try:
        entry.get_state_dict(progress=False, check_hash=True, weights_only=True, map_location="cpu")
    except Exception as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise _unreachable(
            f"torchvision:{name}",
            error,
            f"fetch {entry.url} where there is a connection and put it into {printable(folder)}",
        ) from error
    return entry


def _unreachable(spec: str, error: Exception, hint: str) -> UsageError:
    reason = printable(str(error).strip().partition("\n")[0] or type(error).__name__)
    return UsageError(f"the pretrained weights of {spec} can't be loaded: {reason}", hint)


def _unusable(spec: str, error: Exception, arguments: Mapping[str, Any]) -> UsageError:
    reason = printable(str(error).strip().partition("\n")[0] or type(error).__name__)
    given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return UsageError(
        f"{spec} can't be made{' with ' + printable(given) if given else ''}: {reason}",
        "check model.options against the library's documentation of that model",
    )
