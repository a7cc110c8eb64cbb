"""What becomes of each parameter: trained by the optimizer, frozen, or forgotten.

Reads modules and the optimizer's groups; runs nothing.
"""

from collections.abc import Iterable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from torchloupe.checks.model import list_names
from torchloupe.checks.randomness import looks_random, weighted_layers
from torchloupe.errors import printable
from torchloupe.run.events import Verdict
from torchloupe.units import plural


def find_frozen_random(model: nn.Module) -> list[Verdict]:
    """Frozen layers whose weights look freshly drawn, so that nothing ever trained them."""
    frozen = {
        name: layer
        for name, layer in weighted_layers(model).items()
        if not layer.weight.requires_grad
    }
    tested = {name: looks_random(layer.weight) for name, layer in frozen.items()}  # type: ignore[arg-type]
    random = [name for name, is_random in tested.items() if is_random]
    known = sum(is_random is not None for is_random in tested.values())
    if not random or 2 * len(random) <= known or _has_seen_images(model, random):
        return []
    return [
        Verdict(
            "frozen-random-weights",
            "warning",
            seen=f"{len(random)} of {plural(len(frozen), 'frozen layer')} have weights as an "
            f"initialisation draws them: {list_names(random)}",
            remedy="load pretrained weights before freezing, or leave requires_grad=True",
            where=printable(random[0], 80),
            why="frozen random layers keep random features for ever",
            numbers={"layers": len(random)},
        )
    ]


def _has_seen_images(model: nn.Module, names: Iterable[str]) -> bool:
    """Whether BatchNorm beside these layers has counted batches: then they were trained."""
    parts = {name.rpartition(".")[0] for name in names}
    return any(
        isinstance(module, _BatchNorm)
        and module.num_batches_tracked is not None
        and int(module.num_batches_tracked) > 0
        and not any(p.requires_grad for p in module.parameters(recurse=False))
        and name.rpartition(".")[0] in parts
        for name, module in model.named_modules()
    )


def find_unoptimized(model: nn.Module, optimizer: Optimizer) -> list[Verdict]:
    """Trainable parameters that the optimizer doesn't have, and those it has of another model."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    own = {id(p) for p in model.parameters()}
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    missing = [name for name, p in named.items() if id(p) not in held]
    strangers = len(held - own)
    if missing and strangers:
        return [
            Verdict(
                "optimizer-of-other-parameters",
                "error",
                seen=f"the optimizer has {plural(strangers, 'parameter')} that the model doesn't "
                f"have, and lacks {len(missing)} of the model's {len(named)}: "
                f"{list_names(missing)}",
                remedy="make the optimizer after the last change of the model: optimizer = "
                "...(model.parameters())",
                where=printable(missing[0], 80),
                why="it updates tensors that no forward uses",
                numbers={"missing": len(missing), "strangers": strangers},
            )
        ]
    if not missing or not _matters(model, missing, held):
        return []
    return [
        Verdict(
            "parameters-not-optimized",
            "error",
            seen=f"{len(missing)} of {plural(len(named), 'trainable parameter')} are not in the "
            f"optimizer: {list_names(missing)}",
            remedy="give the optimizer model.parameters(), or all groups; freeze on purpose with "
            "requires_grad_(False)",
            where=printable(missing[0], 80),
            why="they get gradients and stay as they are",
            numbers={"missing": len(missing), "parameters": len(named)},
        )
    ]


def _matters(model: nn.Module, missing: list[str], held: set[int]) -> bool:
    """Whether leaving these out is a mistake: they are random, or parts of trained layers.

    A pretrained body beside an optimizer for the head alone is a choice.
    """
    layers = weighted_layers(model)
    owners = {name.rpartition(".")[0] for name in missing}
    for owner in owners:
        if any(id(p) in held for p in model.get_submodule(owner).parameters(recurse=False)):
            return True
    tested = [looks_random(layers[name].weight) for name in owners & set(layers)]  # type: ignore[arg-type]
    known = [is_random for is_random in tested if is_random is not None]
    return 2 * sum(known) > len(known) if known else True
