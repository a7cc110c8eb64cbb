"""BatchNorm in training on a batch with a single value per channel."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


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
        x = args[0]
        alone = x.ndim >= 2 and x.numel() == x.shape[1]
        if alone and norm.training and isinstance(norm, _BatchNorm):
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
