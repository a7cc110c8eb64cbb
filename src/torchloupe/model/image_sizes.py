"""The image size that a network of torchvision or timm needs, from the library's configuration.

Most of them take any size, some only their own, and some none below a certain one. Shapes alone
decide that, so networks are tried on torch's meta device, which holds no weights.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import torch

from torchloupe.errors import UsageError, printable
from torchloupe.model.catalog import make_model, without_weights


def own_size(spec: str) -> tuple[int, int] | None:
    """Height and width of the images that the library gives `spec`; None if it says none."""
    library, _, name = spec.partition(":")
    if library == "timm" and ":" not in name:
        facts = importlib.import_module("timm").get_pretrained_cfg(name, allow_unregistered=True)
        return None if facts is None else (int(facts.input_size[-2]), int(facts.input_size[-1]))
    if library == "torchvision":
        models = importlib.import_module("torchvision.models")
        seen = models.get_model_weights(name)["DEFAULT"].transforms()
        return int(seen.crop_size[0]), int(seen.crop_size[0])
    return None


def fit_size(
    spec: str, size: tuple[int, int], options: Mapping[str, Any], *, is_typed: bool
) -> tuple[dict[str, str], str]:
    """The settings that give `spec`, a network of a library, images it takes, and a note on them.

    Nothing if it takes `size` (height, width). UsageError if it doesn't and the size was
    typed, or if it doesn't take its own size either.
    """
    own = own_size(spec)
    reason = "" if own in (None, size) else why_not(spec, size, options)
    if own is None or not reason:
        return {}, ""
    is_usable = not why_not(spec, own, options)
    if is_typed or not is_usable:
        raise UsageError(
            f"{printable(spec)} takes no images of {spell_size(size)} pixels: {reason}",
            f"use its own size: --set data.size={_as_setting(own)}"
            if is_usable
            else "choose another model",
        )
    return (
        {"data.size": _as_setting(own)},
        f"images are resized to {spell_size(own)} pixels, the size {spec} was made for: it takes "
        f"none of {spell_size(size)}",
    )


def why_not(spec: str, size: tuple[int, int], options: Mapping[str, Any] | None = None) -> str:
    """Why `spec` does not take images of this size, in one line; empty if it does."""
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]), torch.no_grad():
            network = make_model(
                spec,
                in_channels=3,
                classes=2,
                image_size=size,
                options=without_weights(options or {}),
            )
            network.eval()
            network(torch.zeros(2, 3, *size))
    except NotImplementedError:  # an operation that has no meta kernel; a real forward will tell
        return ""
    except Exception as error:
        reason = printable(str(error).strip().partition("\n")[0] or type(error).__name__)
        return "" if "meta" in reason else reason
    return ""


def spell_size(size: tuple[int, int]) -> str:
    """`240x240`, height first."""
    return f"{size[0]}x{size[1]}"


def _as_setting(size: tuple[int, int]) -> str:
    return str(size[0]) if size[0] == size[1] else spell_size(size)
