"""Fused networks say what the plain ones say, and what can't be fused stays as it is."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torchloupe.model.catalog import make_model
from torchloupe.model.fusing import FusedConvolution, fuse_convolutions, fuse_or_fold

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN"
)


def settle(network: nn.Module, images: Tensor) -> nn.Module:
    """`network` with running statistics of images, and different weights everywhere."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.normal_(module.bias)
    with torch.no_grad():
        network.train()(images)
    return network.eval()


def count(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in network.modules())


def gap(one: nn.Module, other: nn.Module, images: Tensor) -> float:
    with torch.inference_mode():
        wanted = one(images)
        return float((wanted - other(images)).abs().max() / wanted.abs().max())


class Layers(nn.Module):
    """Convolutions of many kinds, each with what follows it in another way."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(3))
        self.deep = nn.Conv2d(8, 8, (3, 5), padding=(1, 4), dilation=(1, 2), groups=8)
        self.point = nn.Conv2d(8, 8, 1)
        self.alone = nn.Conv2d(8, 8, 3, padding="same", padding_mode="reflect")
        self.last = last
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.norms[0](self.first(images)), inplace=True)
        y = self.last(self.norms[1](self.deep(x)))
        z = self.point(y)
        z = z + self.norms[2](z)  # the convolution has two users
        return self.head(self.alone(z).mean((2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("last", "fused"),
    [(nn.ReLU6(), 3), (nn.SiLU(), 3), (nn.Hardswish(), 3), (nn.Sigmoid(), 3), (nn.GELU(), 3)],
)
def test_layers_of_all_kinds_say_the_same(last: nn.Module, fused: int) -> None:
    images = torch.randn(4, 3, 21, 18, generator=torch.Generator().manual_seed(0))
    network = settle(Layers(last), images)
    found = fuse_convolutions(network, images)
    assert count(found, FusedConvolution) == fused
    assert count(found, nn.BatchNorm2d) == 1
    assert gap(network, found, images) < 1e-5
    assert gap(network, found, images[:1] * 2) < 1e-5


@pytest.mark.parametrize(
    "name", ["timm:tf_efficientnet_lite0", "timm:tf_mobilenetv3_small_minimal_100"]
)
def test_networks_with_tensorflow_padding_say_the_same(name: str) -> None:
    images = torch.randn(2, 3, 48, 37, generator=torch.Generator().manual_seed(0))
    network = settle(make_model(name, in_channels=3, classes=7, image_size=(48, 37)), images)
    found = fuse_convolutions(network, images)
    assert count(found, nn.BatchNorm2d) == 0
    assert gap(network, found, images) < 1e-4


class Shared(nn.Module):
    """One convolution that is called twice, as in a head that sees an image and its mirror."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        parts = [self.conv(part).relu().mean((2, 3)) for part in (images, images.flip(3))]
        return self.head(parts[0] + parts[1])  # type: ignore[no-any-return]


def test_a_convolution_that_is_called_twice_is_kept_once() -> None:
    images = torch.randn(2, 3, 9, 9)
    network = Shared().eval()
    found = fuse_convolutions(network, images)
    assert count(found, FusedConvolution) == 1
    assert gap(network, found, images) < 1e-5


def test_a_network_with_hooks_is_refused() -> None:
    network = Shared().eval()
    network.conv.register_forward_hook(lambda _m, _i, output: output * 2)
    with pytest.raises(ValueError, match="hooks"):
        fuse_convolutions(network, torch.randn(2, 3, 9, 9))


def test_a_network_without_convolutions_is_refused() -> None:
    with pytest.raises(ValueError, match="no convolution"):
        fuse_convolutions(nn.Sequential(nn.Flatten(), nn.Linear(27, 2)), torch.randn(2, 3, 3, 3))


def test_the_network_itself_is_left_alone() -> None:
    images = torch.randn(2, 3, 9, 9)
    network: Any = Shared().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fuse_convolutions(network, images)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert type(network.head) is nn.Linear


@pytest.mark.parametrize(
    ("layout", "number_format", "is_fused"),
    [
        (torch.channels_last, "fp32", True),
        (torch.contiguous_format, "fp32", False),
        (torch.channels_last, "bf16", False),
    ],
)
def test_networks_are_fused_where_that_can_be_and_else_folded(layout, number_format, is_fused):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    images = torch.randn(2, 3, 8, 8).contiguous(memory_format=layout)
    made = fuse_or_fold(network, images, number_format)
    kinds = [type(module) for module in made.modules()]
    assert (FusedConvolution in kinds) is is_fused and nn.BatchNorm2d not in kinds
    with torch.inference_mode():
        assert torch.allclose(made(images), network(images), atol=1e-5)


def test_network_that_no_graph_describes_is_folded():
    class Deciding(nn.Sequential):
        def forward(self, x):
            return super().forward(x if x.sum() > 0 else -x)

    network = Deciding(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    images = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    assert type(fuse_or_fold(network, images, "fp32")) is Deciding
