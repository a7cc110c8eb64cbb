"""How a model is put together, read off its modules: copies by accident, modes, BatchNorm.

Nothing here runs the model; `find_stuck_modes` switches the modes of a copy.
"""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from torchloupe.checks.model import list_names
from torchloupe.errors import printable
from torchloupe.run.events import Verdict
from torchloupe.units import plural

FAST_MOMENTUM = 0.9  # of BatchNorm; other libraries count it the other way round


def find_repeated_blocks(model: nn.Module) -> list[Verdict]:
    """The same block several times in one container, as `[block] * 3` makes it.

    A block that has a name of its own outside the container is shared on purpose.
    """
    found = []
    for name, container in model.named_modules():
        if not isinstance(container, (nn.Sequential, nn.ModuleList)):
            continue
        parts = list(container._modules.values())
        for part in {id(p): p for p in parts if p is not None and _has_weights(p)}.values():
            places = [place for place, other in enumerate(parts) if other is part]
            if len(places) < 2 or _has_own_name(model, container, part):
                continue
            is_pattern = _is_periodic([_mark(other) for other in parts], places)
            kind = type(part).__name__
            found.append(
                Verdict(
                    "repeated-block",
                    "warning" if is_pattern else "note",
                    seen=f"{printable(name, 80) or 'the model'} has the same {kind} at "
                    f"{plural(len(places), 'place')}: {len(places)} layers in use, and the weights "
                    "of one",
                    remedy=f"make a new one each time: [{kind}(...) for _ in "
                    f"range({len(places)})]; to share weights on purpose, make it an attribute of "
                    "its own and call it several times",
                    where=f"{name}.{places[0]}".lstrip("."),
                    why="a list times a number repeats the object, so the model is smaller than it "
                    "looks",
                    numbers={"places": len(places)},
                )
            )
    return found


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _has_own_name(model: nn.Module, container: nn.Module, part: nn.Module) -> bool:
    return any(
        child is part
        for module in model.modules()
        if module is not container
        for child in module._modules.values()
    )


def _mark(part: nn.Module | None) -> object:
    """What tells parts apart: the object where it has weights, else its kind."""
    return id(part) if part is not None and _has_weights(part) else type(part)


def _is_periodic(ids: list[object], places: list[int]) -> bool:
    """Whether what stands between two places of a part stands between all of them."""
    step = places[1] - places[0]
    span = ids[places[0] : places[-1] + 1]
    return all(one == other for one, other in zip(span, span[step:], strict=False))


def find_stuck_modes(copy: nn.Module) -> list[Verdict]:
    """Modules that `train()` or `eval()` of the model doesn't reach; switches the copy's modes."""
    copy.eval()
    stuck = [name for name, m in copy.named_modules() if m.training and _minds_mode(m)]
    copy.train()
    idle = [
        name
        for name, m in copy.named_modules()
        if not m.training and _is_left_out(m) and not _is_frozen_around(copy, name)
    ]
    kept = [name for name in idle if _is_kept_in_eval(copy, name)]
    found = [_keeps_eval(kept)] if kept else []
    idle = [name for name in idle if name not in kept]
    for names, mode, why in (
        (stuck, "eval", "dropout goes on in evaluation, or BatchNorm uses the batch"),
        (idle, "train", "BatchNorm's statistics stand still, or dropout is off"),
    ):
        if names:
            found.append(
                Verdict(
                    "mode-not-reaching",
                    "error",
                    seen=f"model.{mode}() doesn't reach {plural(len(names), 'layer')}: "
                    f"{list_names(names)}",
                    remedy="let train(self, mode=True) of the model call super().train(mode), and "
                    "return self",
                    where=printable(names[0], 80),
                    why=why,
                    numbers={"layers": len(names)},
                )
            )
    return found


def _is_kept_in_eval(model: nn.Module, name: str) -> bool:
    """Whether a BatchNorm is in eval mode since a `train` around it, which works, puts it there.

    One that forgets `super().train(mode)` leaves its own module in eval mode, too.
    """
    if not isinstance(model.get_submodule(name), _BatchNorm):
        return False
    while name:
        name = name.rpartition(".")[0]
        around = model.get_submodule(name)
        others = (m for m in around.modules() if m is not around and not isinstance(m, _BatchNorm))
        if type(around).train is not nn.Module.train and any(m.training for m in others):
            return True
    return False


def _keeps_eval(names: list[str]) -> Verdict:
    return Verdict(
        "mode-not-reaching",
        "note",
        seen=f"model.train() keeps {plural(len(names), 'BatchNorm layer')} in eval mode: "
        f"{list_names(names)}",
        remedy="nothing where its statistics are meant to stay; else leave train() out",
        where=printable(names[0], 80),
        why="BatchNorm's statistics stand still",
        numbers={"layers": len(names)},
    )


def _minds_mode(module: nn.Module) -> bool:
    return (isinstance(module, _DropoutNd) and module.p > 0) or (
        isinstance(module, _BatchNorm) and module.track_running_stats
    )


def _is_left_out(module: nn.Module) -> bool:
    """Whether a layer minds its mode and isn't frozen, which would be a reason for eval mode."""
    if isinstance(module, _BatchNorm):
        own = list(module.parameters(recurse=False))
        return module.track_running_stats and any(p.requires_grad for p in own)
    return isinstance(module, _DropoutNd) and module.p > 0


def _is_frozen_around(model: nn.Module, name: str) -> bool:
    """Whether the part that this layer stands in has weights, and all of them are frozen."""
    while name:
        name = name.rpartition(".")[0]
        weights = list(model.get_submodule(name).parameters())
        if weights:
            return not any(weight.requires_grad for weight in weights)
    return False


def norms_of(model: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    """The BatchNorm layers that keep running statistics, by name."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            yield name, module


def find_odd_norms(model: nn.Module) -> list[Verdict]:
    """BatchNorm whose running statistics never move, or follow the last batch alone."""
    still = [n for n, m in norms_of(model) if m.momentum == 0 and _is_trained(m)]
    fast = [n for n, m in norms_of(model) if (m.momentum or 0) >= FAST_MOMENTUM and _is_trained(m)]
    found = []
    if still:
        found.append(
            Verdict(
                "batchnorm-never-moves",
                "error",
                seen=f"{plural(len(still), 'BatchNorm layer')} with momentum 0: "
                f"{list_names(still)}",
                remedy="leave momentum at 0.1",
                where=printable(still[0], 80),
                why="the running mean and variance stay at 0 and 1, so that evaluation computes "
                "something else than training",
                numbers={"layers": len(still)},
            )
        )
    if fast:
        momentum = float(dict(norms_of(model))[fast[0]].momentum or 0)
        found.append(
            Verdict(
                "batchnorm-momentum",
                "warning",
                seen=f"{plural(len(fast), 'BatchNorm layer')} with momentum {momentum:g}: the "
                "running statistics are those of the last batch, nearly alone",
                remedy=f"torch's momentum is the share of the new batch: momentum="
                f"{max(1 - momentum, 0.01):.2g} is what other libraries call {momentum:g}",
                where=printable(fast[0], 80),
                why="evaluation depends on which images came last",
                numbers={"momentum": momentum},
            )
        )
    return found


def _is_trained(norm: _BatchNorm) -> bool:
    own = list(norm.parameters(recurse=False))
    return not own or any(p.requires_grad for p in own)
