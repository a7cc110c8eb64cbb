"""A second model, built as `open_run` builds one: what it lacks, a checkpoint lacks too.

Tried before training with the weights that the first model has, and after it with those that
were saved.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from torchloupe.checks.model import list_names
from torchloupe.config.schema import Config
from torchloupe.data.contract import Contract
from torchloupe.errors import CheckpointError, UsageError, printable
from torchloupe.hardware.layout import release, requires_contiguous, set_memory_format
from torchloupe.lens.batch_dependence import first_difference
from torchloupe.lens.copies import copy_model
from torchloupe.lens.hidden import plain_tensors
from torchloupe.lens.trace import is_dense, unchanged
from torchloupe.model.norms import steady_norms
from torchloupe.model.transfer import is_from_this_package
from torchloupe.model.wrapping import unwrap
from torchloupe.prepare.objects import make_for_contract
from torchloupe.prepare.run_data import RunData
from torchloupe.run.own_state import left_alone
from torchloupe.run.weights import load_weights
from torchloupe.system.generators import is_own_code
from torchloupe.system.seeding import rng_preserved, seed_shared

COMPARED = 8  # images
HINT = (
    "keep all that forward uses in parameters and buffers: nn.ModuleList, nn.Parameter, "
    "register_buffer"
)


OTHER_SEED = 0x5EED  # so that a second model draws other numbers, whatever the caller seeded


def _make_in_init(model: nn.Module, other: nn.Module) -> str:
    """What to do about layers that the first forward made; empty if there are none."""
    late = [name for name in model.state_dict() if name not in other.state_dict()]
    if not late:
        return ""
    return (
        f"make {printable(late[0].rpartition('.')[0] or late[0], 80)} in __init__, not in forward: "
        "nn.LazyLinear and its like find their number of inputs by themselves"
    )


@dataclass(frozen=True)
class Spare:
    """Where another model comes from: a copy from before training, what made it, or a name."""

    source: nn.Module | Callable[..., nn.Module] | None = None  # None: the settings name it

    def make(self, config: Config, contract: Contract) -> nn.Module:
        """A model as `open_run` makes it, with random weights or those it was given with."""
        source = config.model.name if self.source is None else self.source
        return make_for_contract(source, config, contract)


def keep_spare(model: Any) -> Spare | None:
    """The Spare for a model that was handed over, or for none; None for one with lazy layers,
    which can't be copied before their first forward.
    """
    if not isinstance(model, nn.Module):
        return Spare(model)
    if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        return None
    return Spare(copy_model(unwrap(model)))


def some_images(run_data: RunData, device: torch.device) -> Tensor:
    """A few training images [B, C, H, W] as the model takes them."""
    rows = run_data.some_rows(COMPARED)
    return next(iter(run_data.scan_rows(rows, device))).images


def describe_plain_tensors(spare: Spare) -> list[str]:
    """Notes on numbers that a model which was handed over keeps where they are not saved."""
    if not isinstance(spare.source, nn.Module):
        return []
    plain = [name for name, tensor in plain_tensors(spare.source) if tensor.is_floating_point()]
    passing = list(passing_buffers(spare.source))
    notes = [
        f"plain tensors of the model are neither saved nor moved to the device: "
        f"{list_names(plain)} (self.register_buffer keeps them)"
    ]
    passed = [
        f"buffers that are not persistent are not saved: {list_names(passing)}; a model that is "
        "given to open or resume the run must have the same numbers (leave out persistent=False, "
        "and they are saved)"
    ]
    return (notes if plain else []) + (passed if passing else [])


def passing_buffers(model: nn.Module) -> Iterator[str]:
    """Buffers of the user's own layers that no state dict has, and whose numbers differ: another
    model may have others, such as random ones. Constants and those of libraries are left out.
    """
    for prefix, module in model.named_modules():
        if not is_own_code(type(module).__module__):
            continue
        for name in module._non_persistent_buffers_set:
            buffer = module._buffers[name]
            if buffer is None or not buffer.is_floating_point() or buffer.numel() < 2:
                continue
            if is_dense(buffer) and bool((buffer != buffer.flatten()[0]).any()):
                yield f"{prefix}.{name}" if prefix else name


def compare_spare(
    spare: Spare | None,
    model: nn.Module,
    config: Config,
    run_data: RunData,
    device: torch.device,
) -> tuple[Spare, list[str]]:
    """The Spare, made of `model` if there is none yet, and notes on what it may lack.

    Raises UsageError if it gives other logits for a few images with the weights of `model`.

    Such a model keeps numbers that are not saved: the opened run would predict something else.
    Networks of this package are known not to.
    """
    spare = spare or Spare(copy_model(model))
    if is_from_this_package(model):
        return spare, []
    images = some_images(run_data, device)
    notes = describe_plain_tensors(spare)  # now: a forward may leave more
    devices = [device] if device.type == "cuda" else []
    with rng_preserved(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(OTHER_SEED)
        seed_shared(OTHER_SEED)
        other = spare.make(config, run_data.contract).to(device)
    with left_alone(model), unchanged(model, device):
        with torch.no_grad(), steady_norms(model, images):
            model.train()
            model(images.clone())  # which may change numbers that state_dict doesn't have
        _refuse_others(model, other, images, config)
    return spare, notes


def _refuse_others(model: nn.Module, other: nn.Module, images: Tensor, config: Config) -> None:
    """UsageError if `other` gives other logits with the weights of `model`."""
    try:
        load_weights(other, model.state_dict())
    except (CheckpointError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = printable(str(error).strip().partition("\n")[0], 200)
        raise UsageError(
            f"the model's state_dict doesn't load into another one of it: {reason}",
            _make_in_init(model, other) or "make load_state_dict take what state_dict gives",
        ) from error
    was_contiguous = requires_contiguous(other)
    if requires_contiguous(model):
        set_memory_format(other, channels_last=False)
    else:
        set_memory_format(other, channels_last=bool(config.hardware.channels_last))
    found = first_difference(model, other, images)
    if not was_contiguous:
        release(other)
    other.to("cpu")
    if found is not None:
        raise UsageError(
            "another model of this kind with the same weights gives other logits"
            + (f", from layer {printable(found, 80)} on" if found else "")
            + ": forward uses numbers that state_dict doesn't have",
            HINT,
        )
