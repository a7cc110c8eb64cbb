"""Three small networks for images of any channel count, class count and size, down to 1x1.

Each takes images [B, C, H, W] and gives logits [B, K]. They know nothing of data or training.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Net(nn.Module):
    """The smallest network: one convolution, then the average of each feature map."""

    def __init__(self, in_channels: int = 1, classes: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 32, kernel_size=3, padding=1)
        self.fc = nn.Linear(32, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.conv(images))  # [B, 32, H, W]
        x = x.mean(dim=(2, 3))  # [B, 32]
        logits: Tensor = self.fc(x)
        return logits


class CNN(nn.Sequential):
    """A convolution, ReLU and 2x2 max pooling for each of `widths`, then a linear layer.

    The linear layer takes the grid that a 28x28 image is pooled to (7x7 for two blocks); for
    images of another size the feature maps are averaged, or stretched, to that grid.
    """

    def __init__(
        self, in_channels: int = 1, classes: int = 10, widths: tuple[int, ...] = (32, 64)
    ) -> None:
        layers: list[nn.Module] = []
        channels = in_channels
        for width in widths:
            layers += [
                nn.Conv2d(channels, width, kernel_size=3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2, ceil_mode=True),  # ceil: a side of 1 stays 1
            ]
            channels = width
        side = math.ceil(28 / 2 ** len(widths))
        super().__init__(
            *layers, Grid(side), nn.Flatten(), nn.Linear(channels * side * side, classes)
        )


class ResidualNet(nn.Module):
    """A compact residual network with BatchNorm, accurate for its cost on images up to 64 pixels.

    A stem of `width` channels and two stages of twice and `last` times as many, each followed by
    `depth` residual pairs. Every stage halves the side by max pooling as long as 4 pixels
    remain, so the same network serves 8x8 and 64x64; larger images are pooled to 32 after the
    stem. Its shape follows the nine-layer residual net of DAWNBench (Page 2018, "How to train
    your ResNet"), pooling before the norm as airbench does.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 10,
        width: int = 32,
        depth: int = 1,
        last: int = 4,
    ) -> None:
        super().__init__()
        self.stem = ConvNorm(in_channels, width, pool=True)
        self.stage1 = make_stage(width, 2 * width, depth)
        self.stage2 = make_stage(2 * width, last * width, depth)
        self.fc = nn.Linear(last * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        while max(x.shape[-2:]) > 32:
            x = F.max_pool2d(x, 2, ceil_mode=True)
        x = self.stage2(self.stage1(x))
        x = x.amax(dim=(2, 3))  # [B, last * width]
        logits: Tensor = self.fc(x)
        return logits * 0.125  # first predictions are then nearly uniform


class ConvNorm(nn.Module):
    """3x3 convolution, 2x2 max pooling (with `pool`, if 4 pixels remain), BatchNorm, ReLU.

    Pooling comes first so that the norm and the ReLU have a quarter of the values to process.
    """

    def __init__(self, in_channels: int, out_channels: int, *, pool: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.pool and min(x.shape[-2:]) >= 7:
            x = F.max_pool2d(x, 2, ceil_mode=True)
        return F.relu(self.norm(x))


class ResidualPair(nn.Module):
    """A residual block: the input plus the output of two convolutions of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.second(self.first(x))
        return x + change


class Grid(nn.Module):
    """Averages [B, C, H, W] over `side` x `side` windows; maps of that size are left unchanged.

    The windows are those of `nn.AdaptiveAvgPool2d`, whose gradient is not deterministic on a GPU;
    that of two matrix products is.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if height == width == self.side:
            return x
        rows = window_weights(height, self.side).to(x)
        columns = window_weights(width, self.side).to(x)
        return rows @ x @ columns.T

    def extra_repr(self) -> str:
        return f"{self.side}"


def make_stage(in_channels: int, out_channels: int, depth: int) -> nn.Sequential:
    """A pooling convolution to `out_channels`, followed by `depth` residual pairs."""
    pairs = (ResidualPair(out_channels) for _ in range(depth))
    return nn.Sequential(ConvNorm(in_channels, out_channels, pool=True), *pairs)


def window_weights(length: int, windows: int) -> Tensor:
    """The matrix [windows, length] that averages a row of `length` values over each window."""
    starts = torch.arange(windows) * length // windows
    ends = -(-(torch.arange(windows) + 1) * length // windows)
    places = torch.arange(length)
    inside = (places >= starts[:, None]) & (places < ends[:, None])
    return inside / inside.sum(dim=1, keepdim=True)
