"""BatchNorm and a batch of one image."""

import pytest
import torch
from torch import nn

from torchloupe.errors import UsageError
from torchloupe.model.norms import refuse_lone_images, steady_norms
from torchloupe.model.zoo import ResidualNet


def test_steady_norms_train_on_one_image_of_one_pixel():
    model = ResidualNet(1, 3)
    image = torch.rand(1, 1, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model(image)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with steady_norms(model, image):
        logits = model(image)
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert all(module.training for module in model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    after = dict(model.named_buffers())
    assert all(torch.equal(buffer, after[name]) for name, buffer in before.items())


@pytest.mark.parametrize("shape", [(1, 1, 28, 28), (2, 1, 1, 1)])
def test_steady_norms_change_nothing_when_torch_can_go_on(shape):
    torch.manual_seed(0)
    model, images = ResidualNet(1, 3), torch.rand(shape)
    other = ResidualNet(1, 3)
    other.load_state_dict(model.state_dict())
    expected = other(images)
    with steady_norms(model, images):
        given = model(images)
    assert torch.equal(given, expected)
    assert torch.equal(model.stem.norm.running_var, other.stem.norm.running_var)


def test_steady_norms_give_the_mode_back_when_the_model_fails():
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(3, 2))
    with pytest.raises(RuntimeError), steady_norms(model, torch.rand(1, 4)):
        model(torch.rand(1, 4))
    assert model[1].training


def test_a_norm_that_sees_one_value_per_channel_in_every_step_is_refused() -> None:
    images = torch.randn(4, 1, 6, 6)
    lone = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    with pytest.raises(UsageError, match=r"2 \(BatchNorm1d\) gets a single value per channel"):
        refuse_lone_images(lone, images, 1)
    refuse_lone_images(lone, images, 2)
    assert int(lone[2].num_batches_tracked) == 0
    assert not any(module._forward_pre_hooks for module in lone.modules())
    refuse_lone_images(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), images, 1)
