"""BatchNorm in training on a batch with a single value per channel."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from torchloupe.errors import UsageError, printable
from torchloupe.lens.trace import unchanged


def steady_norms(model: nn.Module, images: Tensor) -> AbstractContextManager[None]:
    """A context in which BatchNorm uses its running statistics for one value per channel.

    In training torch raises "Expected more than 1 value per channel" there, as for a last batch
    of one image after global pooling. Elsewhere nothing changes, and for a batch of two or more
    `images` nothing is done at all.
    """
    return nullcontext() if images.shape[0] > 1 else _holding_lone_norms(model)


@contextmanager
def _holding_lone_norms(model: nn.Module) -> Iterator[None]:
    held: list[_BatchNorm] = []

    def hold(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        if _is_alone(args[0]) and norm.training and isinstance(norm, _BatchNorm):
            held.append(norm)
            norm.training = False

    def release(norm: nn.Module, _args: object, _output: object) -> None:
        if isinstance(norm, _BatchNorm) and norm in held:
            held.remove(norm)
            norm.training = True

    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    hooks = [norm.register_forward_pre_hook(hold) for norm in norms]
    hooks += [norm.register_forward_hook(release) for norm in norms]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for norm in held:
            norm.training = True


def refuse_lone_images(model: nn.Module, images: Tensor, at_once: int) -> None:
    """UsageError if only one image goes through at a time and a BatchNorm would never learn.

    torch raises an error there; for a last batch of one image see `steady_norms`.
    """
    if at_once > 1:
        return
    image = images[:1]
    lone: list[_BatchNorm] = []

    def look(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        if isinstance(norm, _BatchNorm) and _is_alone(args[0]) and norm.training:
            lone.append(norm)

    norms = {m: n for n, m in model.named_modules() if isinstance(m, _BatchNorm)}
    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    try:
        with unchanged(model, image.device), steady_norms(model, image), torch.no_grad():
            model.train()
            model(image.clone())
    finally:
        for hook in hooks:
            hook.remove()
    if lone:
        raise UsageError(
            f"{printable(norms[lone[0]], 80)} ({type(lone[0]).__name__}) gets a single value per "
            "channel, since one image at a time is trained on: there is nothing to normalise by",
            "train on two images or more at once (batch_size, train.micro_batches), or use "
            "nn.LayerNorm or nn.GroupNorm there",
        )


def _is_alone(x: Tensor) -> bool:
    """Whether each channel has a single value."""
    return x.ndim >= 2 and x.numel() == x.shape[1]
