"""Memory formats of images: strides that are really contiguous, and a hook that comes off."""

import pytest
import torch
from torch import nn

from torchloupe.hardware.layout import (
    crashes_in_channels_last,
    images_laid_out,
    make_contiguous,
    memory_format_of,
    release,
    require_contiguous,
    requires_contiguous,
    set_memory_format,
    weights_laid_out,
)


class Strides(nn.Module):
    """Remembers the strides of what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = x.stride()
        return x.mean(dim=(2, 3))


@pytest.mark.parametrize("shape", [(4, 8, 8, 1), (4, 8, 8, 3), (1, 8, 8, 3), (2, 1, 1, 1)])
def test_make_contiguous_has_the_strides_of_a_new_tensor(shape):
    images = torch.randn(shape).permute(0, 3, 1, 2)
    made = make_contiguous(images)
    assert made.stride() == torch.empty(made.shape).stride()
    assert torch.equal(made, images)


def test_grey_images_made_contiguous_stay_so_through_convolutions():
    images = torch.randn(4, 28, 28, 1).permute(0, 3, 1, 2)
    layers = nn.Sequential(nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5))
    assert not layers(images.contiguous()).is_contiguous()
    assert layers(make_contiguous(images)).is_contiguous()


def test_images_are_contiguous_inside_and_as_they_come_afterwards():
    model, images = Strides(), torch.randn(2, 8, 8, 3).permute(0, 3, 1, 2)
    with images_laid_out(model, channels_last=False):
        model(images)
        assert model.seen == (192, 64, 8, 1)
    model(images)
    assert model.seen == images.stride()
    assert not model._forward_pre_hooks
    with images_laid_out(model, channels_last=True):
        model(images)
    assert model.seen == images.stride()


def test_require_contiguous_is_done_once_and_taken_back():
    model = Strides()
    require_contiguous(model)
    require_contiguous(model)
    assert len(model._forward_pre_hooks) == 1
    assert memory_format_of(model) == torch.contiguous_format
    with images_laid_out(model, channels_last=False):
        pass
    assert requires_contiguous(model)
    release(model)
    assert memory_format_of(model) == torch.channels_last


def test_weights_laid_out_have_their_own_memory_again():
    model = Strides()
    weight, place = model.conv.weight, model.conv.weight.data_ptr()
    with weights_laid_out(model, torch.channels_last):
        assert not weight.is_contiguous()
    assert (weight.data_ptr(), weight.is_contiguous()) == (place, True)
    set_memory_format(model, channels_last=True)
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_crashing_families_are_known_by_their_modules():
    part = type("RepMixer", (nn.Module,), {"__module__": "timm.models.fastvit"})
    assert crashes_in_channels_last(nn.Sequential(part()))
    assert not crashes_in_channels_last(Strides())
