"""The zoo: shapes, sizes, and what each network is made of."""

import pytest
import torch
from torch import nn

from torchloupe.model.zoo import CNN, Grid, Net, ResidualNet

SIZES = [(1, 1), (2, 3), (8, 8), (28, 28), (5, 64), (32, 32), (37, 53), (64, 64), (224, 224)]


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", [Net, CNN, ResidualNet])
def test_zoo_takes_images_of_any_size(make, size):
    model = make(in_channels=2, classes=7)
    logits = model(torch.rand(2, 2, *size))
    assert logits.shape == (2, 7)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_net_is_one_convolution_and_one_linear_layer():
    model = Net(3, 5)
    assert count(model) == (3 * 9 * 32 + 32) + (32 * 5 + 5)
    images = torch.rand(4, 3, 6, 6)
    maps = torch.relu(torch.nn.functional.conv2d(images, *model.conv.parameters(), padding=1))
    assert torch.allclose(model(images), maps.mean((2, 3)) @ model.fc.weight.T + model.fc.bias)


def test_cnn_is_a_sequential():
    kinds = [type(layer).__name__ for layer in CNN()]
    block = ["Conv2d", "ReLU", "MaxPool2d"]
    assert isinstance(CNN(), nn.Sequential)
    assert kinds == [*block, *block, "Grid", "Flatten", "Linear"]


def test_cnn_equals_the_plain_network_when_images_are_28x28():
    plain = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 7 * 7, 10),
    )  # fmt: skip
    model = CNN()
    shapes = [parameter.shape for parameter in model.parameters()]
    assert shapes == [parameter.shape for parameter in plain.parameters()]
    plain.load_state_dict(dict(zip(plain.state_dict(), model.state_dict().values(), strict=True)))
    images = torch.rand(3, 1, 28, 28)
    assert torch.equal(model(images), plain(images))


def test_cnn_has_a_block_for_each_width():
    model = CNN(3, 4, widths=(8, 16, 24))
    assert model[-1].in_features == 24 * 4 * 4
    assert model(torch.rand(1, 3, 28, 28)).shape == (1, 4)


@pytest.mark.parametrize("size", [(1, 1), (3, 8), (8, 8), (13, 7), (30, 7)])
def test_grid_averages_like_torch_does(size):
    x = torch.rand(2, 3, *size)
    expected = torch.nn.functional.adaptive_avg_pool2d(x, 7)
    assert torch.allclose(Grid(7)(x), expected, atol=1e-6)


def test_residual_net_is_compact_and_pools_to_four_pixels():
    model = ResidualNet(in_channels=1, classes=10)
    assert 300_000 < count(model) < 2_700_000
    seen = {}
    for size in (8, 28, 32, 64, 224):
        hook = model.stage2.register_forward_hook(
            lambda module, args, output, size=size: seen.update({size: tuple(output.shape[2:])})
        )
        model(torch.rand(2, 1, size, size))
        hook.remove()
    assert seen == {8: (4, 4), 28: (4, 4), 32: (4, 4), 64: (8, 8), 224: (7, 7)}


def test_residual_net_gives_the_same_logits_in_channels_last():
    model = ResidualNet(3, 10).eval()
    images = torch.rand(2, 3, 32, 32)
    expected = model(images)
    model = model.to(memory_format=torch.channels_last)
    given = model(images.to(memory_format=torch.channels_last))
    assert torch.allclose(given, expected, atol=1e-5)


def test_residual_net_grows_with_width_and_depth():
    assert count(ResidualNet(1, 10, width=16)) < count(ResidualNet(1, 10))
    assert count(ResidualNet(1, 10, depth=2)) > count(ResidualNet(1, 10))
