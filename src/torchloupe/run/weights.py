"""Weights as a state dict: loaded whole, summed up, and looked over for numbers that overflowed.

A state dict is more than tensors: modules have versions, and some an extra state of their own.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from torchloupe.distributed.parallel import whole
from torchloupe.errors import CheckpointError, UsageError, printable
from torchloupe.lens.trace import in_training_mode, is_dense
from torchloupe.run.tensor_files import Stored, fit_like, read_whole

_EXTRA = "_extra_state"  # torch's name for what `get_extra_state` gives
_WORDS = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.int8}


def load_weights(model: nn.Module, weights: Mapping[str, Any]) -> None:
    """Copy `weights` into `model`; every name and shape must match, else CheckpointError.

    Of tensors that are still Stored, a rank of a sharded model reads its part.

    A module's extra state, which may be any plain value, is handed to the module. Versions of
    modules that `with_versions` added are those that `load_state_dict` sees, else the model's own.
    """
    own = model.state_dict()
    kinds = (Tensor, Stored)
    strange = [n for n in weights if not isinstance(weights[n], kinds) and not _is_extra(n)]
    if strange:
        raise CheckpointError(
            f"the checkpoint has no weights under {_some(strange)}",
            "use a checkpoint as it was written",
        )
    missing = [name for name in own if name not in weights]
    extra = [name for name in weights if name not in own]
    shared = [n for n in own if n in weights and not _is_extra(n) and not is_lazy(own[n])]
    wrong = [
        f"{name} is {tuple(weights[name].shape)}, wanted {tuple(own[name].shape)}"
        for name in shared
        if own[name].shape != weights[name].shape
    ]
    problems = [
        f"{kind} {_some(names)}"
        for kind, names in (("lacks", missing), ("has also", extra))
        if names
    ]
    problems += [_some(wrong)] if wrong else []
    if problems:
        raise CheckpointError(
            "the checkpoint's weights don't fit this model: it " + "; ".join(problems),
            "give the model the run was trained with (--model)",
        )
    fitted = WeightDict(
        (name, read_whole(weights[name]) if _is_extra(name) else fit_like(weights[name], value))
        for name, value in own.items()
    )
    fitted._metadata = {**getattr(own, "_metadata", {}), **getattr(weights, "_metadata", {})}
    with in_training_mode(model):
        model.load_state_dict(fitted)


class WeightDict(OrderedDict[str, Any]):
    """Weights by name with the versions of their modules, as torch's own state dicts have them."""

    _metadata: dict[str, dict[str, Any]]


def versions_of(weights: Mapping[str, Any]) -> dict[str, int]:
    """The version of each module of a state dict whose version is not 1, which most have."""
    metadata = getattr(weights, "_metadata", {})
    versions = {name: facts.get("version", 1) for name, facts in metadata.items()}
    return {name: version for name, version in versions.items() if version != 1}


def with_versions(
    weights: Mapping[str, Any], trees: Mapping[str, Any], prefix: str = ""
) -> Mapping[str, Any]:
    """`weights` as a state dict with the versions in a checkpoint, whose names get `prefix`.

    As they are where the checkpoint is from before versions were kept.
    """
    versions = trees["state"].get("versions")
    if versions is None:
        return weights
    found = WeightDict(weights)
    parts = {name.rpartition(".")[0] for name in weights}
    modules = {".".join(part.split(".")[:k]) for part in parts for k in range(part.count(".") + 2)}
    found._metadata = {name: {"version": 1} for name in modules}
    for name, version in versions.items():
        found._metadata[(prefix + name).rstrip(".")] = {"version": version}
    return found


def tensors_of(value: Any) -> Iterator[Tensor]:
    """The tensors of a state dict, those within an extra state included."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from tensors_of(part)


def refuse_extra_state(model: nn.Module) -> None:
    """UsageError if `get_extra_state` gives, or a tensor is, what a checkpoint can't hold.

    Checkpoints are safetensors and JSON: tensors, numbers, texts, None, lists and dicts of them
    by text.
    """
    for name, value in model.state_dict().items():
        odd = _find_odd(value) if _is_extra(name) else ""
        if odd:
            raise UsageError(
                f"{printable(name.rpartition('.')[0]) or 'the model'} gives a {odd} from "
                "get_extra_state, which a checkpoint can't hold",
                "give tensors, numbers, texts, None, and lists and dicts of those by text",
            )
        if isinstance(value, Tensor) and not is_lazy(value) and not is_dense(value):
            raise UsageError(
                f"{printable(name)} is a sparse or nested tensor, which a checkpoint can't hold",
                "register it with persistent=False, so that __init__ makes it again, or keep it "
                "dense",
            )


def _find_odd(value: Any) -> str:
    """The type of the first part that a checkpoint would not give back as it was; or empty."""
    if value is None or type(value) in (bool, int, float, str) or isinstance(value, Tensor):
        return ""
    if type(value) is list:
        return next((odd for part in value if (odd := _find_odd(part))), "")
    if type(value) in (dict, OrderedDict):
        keys = [type(key).__name__ for key in value if type(key) is not str]
        parts = (odd for part in value.values() if (odd := _find_odd(part)))
        return f"dict by {keys[0]}" if keys else next(parts, "")
    return type(value).__name__


def _is_extra(name: str) -> bool:
    return name.rpartition(".")[2] == _EXTRA


def infinite_from_the_start(model: nn.Module) -> dict[str, Tensor]:
    """For each floating weight or buffer with infinite or NaN numbers, where it has them.

    Masks of attention are such; what is so before training is no overflow.
    """
    found = {}
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor) and not is_lazy(tensor) and _can_overflow(tensor):
            is_finite = torch.isfinite(tensor)
            if not bool(is_finite.all()):
                found[name] = ~is_finite
    return found


def find_overflow(model: nn.Module, infinite: Mapping[str, Tensor]) -> str:
    """The first weight or buffer with a number that is not finite, but for those of `infinite`.

    A buffer of another shape than at the start was made anew, and counts nothing. Empty for none.
    """
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, Tensor) or not _can_overflow(tensor):
            continue
        fine = torch.isfinite(tensor)
        if name in infinite:
            if infinite[name].shape != fine.shape:
                continue
            fine = fine | infinite[name].to(fine.device)
        if not bool(fine.all()):
            return name
    return ""


def _can_overflow(tensor: Tensor) -> bool:
    if not is_dense(tensor):
        return False
    return tensor.is_floating_point() or tensor.is_complex()


def checksum_weights(model: nn.Module) -> str:
    """A 64-bit checksum of every bit of the model's weights and buffers, as 16 hex digits.

    Any change of one number changes it. Costs one pass over the weights; waits for the device
    once. A sum of whole words, taken modulo 2**64, each tensor times an odd number of its own.
    """
    # One after the other: no rank has to hold a sharded model as a whole.
    tensors = tensors_of(model.state_dict())
    sums = [_as_words(whole(tensor)).sum(dtype=torch.int64) for tensor in tensors]
    if not sums:
        return f"{0:016x}"
    plain = torch.stack([each.to(sums[0].device) for each in sums]).tolist()
    total = sum(each * (2 * number + 1) for number, each in enumerate(plain))
    return f"{total & 0xFFFF_FFFF_FFFF_FFFF:016x}"


def _as_words(tensor: Tensor) -> Tensor:
    """The bits of a tensor as integers, of 64 bits if it can be split into such."""
    flat = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).detach().contiguous()
    flat, width = flat.reshape(-1), flat.element_size()
    is_even = not (flat.numel() * width) % 8 and not (flat.storage_offset() * width) % 8
    return flat.view(torch.int64 if is_even else _WORDS[width])


def _some(names: list[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
