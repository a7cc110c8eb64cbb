"""What a model does in evaluation: does it look at the image, and at that alone, and always so."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from torchloupe.checks.partings import (
    ALLOWED,
    describe_dependence,
    describe_parting,
    remedy_for_dependence,
    remedy_for_parting,
)
from torchloupe.errors import printable
from torchloupe.lens.batch_dependence import (
    Dependence,
    eval_output,
    find_dependence,
    layer_outputs,
)
from torchloupe.lens.repetition import EvalCall, find_batch_norm, find_parting
from torchloupe.lens.trace import unchanged
from torchloupe.run.events import Verdict

SAME = 1e-6  # share of the largest output by which outputs of different images must differ


def judge_behaviour(model: nn.Module, images: Tensor) -> list[Verdict]:
    """Verdicts on forwards in eval mode of `images` [B, ...], two or more, that are not alike."""
    parting = find_parting(model, images[:4])
    if parting is not None:
        return [
            Verdict(
                ALLOWED,
                "error",
                seen=describe_parting(parting),
                remedy=remedy_for_parting(parting),
                where=printable(parting.layer, 80),
                why="dropout or noise that is never switched off makes predictions random",
                numbers={"gap": parting.gap},
            )
        ]
    dependence = find_dependence(model, images[:4])
    if dependence is not None:
        return [_on_others(dependence, find_batch_norm(model, images[:4]))]
    return []


def judge_blindness(model: nn.Module, images: Tensor) -> list[Verdict]:
    """An error where a model that has taken a few steps gives all images the same outputs."""
    varied = _different(images)
    if _varies(eval_output(model, varied)) or _varies_in_training(model, varied):
        return []
    layers = layer_outputs(model, varied)[:-1]
    first = next((name for name, output in layers if not _varies(output)), "")
    where = f"; from layer {printable(first, 80)} on they are the same" if first else ""
    return [
        Verdict(
            "output-ignores-image",
            "error",
            seen=f"{len(varied)} different images get the same outputs{where}",
            remedy="look at that layer: multiplied by 0, all units dead, or its input not used",
            where=printable(first, 80),
            why="the model can only learn how frequent the classes are",
        )
    ]


def _varies_in_training(model: nn.Module, images: Tensor) -> bool:
    """Whether outputs differ with BatchNorm on the batch, whose statistics may be young, and
    dropout off.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return False
    with unchanged(model, images.device), torch.no_grad():
        model.eval()
        for norm in norms:
            norm.train()
        output = model(images).float()
    return bool((output - output[:1]).abs().max() > 1e-3 * output.abs().max())


def _different(images: Tensor) -> Tensor:
    """`images`, or noise of their scale where they are all alike."""
    if len(images) > 1 and not bool((images == images[:1]).all()):
        return images
    scale = float(images.float().abs().max()) or 1.0
    return torch.randn((4, *images.shape[1:]), device=images.device) * scale


def _varies(output: Tensor) -> bool:
    numbers = output.float().reshape(len(output), -1)
    if not numbers.shape[1] or not bool(torch.isfinite(numbers).all()):
        return True
    gap = (numbers - numbers[:1]).abs().max()
    return bool(gap > SAME * numbers.abs().max())


def _on_others(found: Dependence, norm: EvalCall | None) -> Verdict:
    return Verdict(
        "output-depends-on-other-images",
        "error",
        seen=describe_dependence(found),
        remedy=remedy_for_dependence(found, norm),
        where=printable(found.layer, 80),
        why="a prediction changes with its company, and one image alone gets another",
        numbers={"gap": found.gap},
    )
