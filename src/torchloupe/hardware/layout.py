"""The memory format of images: channels_last as they are decoded, or contiguous for models that
need it.

Decoded images lie in memory as NHWC, which torch calls channels_last and computes fastest. Code
that reshapes with `view` after a convolution works on contiguous tensors only. For such a model
a hook before its forward makes images contiguous, so that training, evaluation, prediction and
every trial of speed see the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# Modules of these packages have crashed the process inside torch's channels_last kernels, which
# no trial survives.
CRASHING = ("timm.models.fastvit",)


def make_contiguous(images: Tensor) -> Tensor:
    """`images` with the strides of a new tensor of their shape; copied where they differ.

    Stricter than `Tensor.contiguous`, for which the strides of sides of length 1 don't count:
    torch still takes grey NHWC images for channels_last, and so do all convolutions after them.
    """
    return images.contiguous().view(images.shape)


def require_contiguous(model: nn.Module) -> None:
    """Have images made contiguous before each forward of `model`; once is enough."""
    if not requires_contiguous(model):
        model.register_forward_pre_hook(_make_inputs_contiguous)


def set_memory_format(model: nn.Module, channels_last: bool) -> None:
    """Train `model` with images and weights in channels_last, or with contiguous ones."""
    if channels_last:
        model.to(memory_format=torch.channels_last)
    else:
        require_contiguous(model)


def requires_contiguous(model: nn.Module) -> bool:
    """Whether `require_contiguous` was called for this model."""
    return _make_inputs_contiguous in model._forward_pre_hooks.values()


def release(model: nn.Module) -> None:
    """Undo `require_contiguous`."""
    for number, hook in list(model._forward_pre_hooks.items()):
        if hook is _make_inputs_contiguous:
            del model._forward_pre_hooks[number]


def memory_format_of(model: nn.Module) -> torch.memory_format:
    """The format of the images that `model` computes with."""
    return torch.contiguous_format if requires_contiguous(model) else torch.channels_last


def lay_out_images(images: Tensor, memory_format: torch.memory_format) -> Tensor:
    """Contiguous `images` if that is the format, else as they come."""
    return make_contiguous(images) if memory_format == torch.contiguous_format else images


@contextmanager
def images_laid_out(model: nn.Module, channels_last: bool) -> Iterator[None]:
    """A context in which `model` gets contiguous images, or with `channels_last` any."""
    if channels_last or requires_contiguous(model):
        yield
        return
    require_contiguous(model)
    try:
        yield
    finally:
        release(model)


@contextmanager
def weights_laid_out(model: nn.Module, memory_format: torch.memory_format) -> Iterator[None]:
    """A context in which weights of four dimensions have this memory format."""
    own = [(parameter, parameter.data) for parameter in model.parameters()]
    try:
        model.to(memory_format=memory_format)
        yield
    finally:
        for parameter, data in own:
            parameter.data = data


def crashes_in_channels_last(model: nn.Module) -> bool:
    """Whether a part of the model is known to crash the process in that format."""
    return any(type(module).__module__.startswith(CRASHING) for module in model.modules())


def _make_inputs_contiguous(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        make_contiguous(value) if isinstance(value, Tensor) and value.layout is torch.strided
        else value
        for value in inputs
    )  # fmt: skip
