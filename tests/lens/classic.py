"""The newcomer's network, and what explain_forward says of it."""

import pytest
import torch
from torch import nn

from torchloupe.errors import UsageError
from torchloupe.lens.anatomy import explain_forward


class Classic(nn.Module):
    """The newcomer's network: right for 28x28 images, wrong for all others."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(64 * 7 * 7, 10)

    def maps(self, x):
        return self.pool(torch.relu(self.conv2(self.pool(torch.relu(self.conv1(x))))))

    def forward(self, x):
        return self.fc(torch.flatten(self.maps(x), 1))


def with_forward(forward, **parts):
    """A Classic model with another forward(model, x) and other parts."""
    model = type("Own", (Classic,), {"forward": forward})()
    for name, part in parts.items():
        setattr(model, name, part)
    return model


def error_of(model, size=32, channels=1, batch=2, classes=10):
    with pytest.raises(UsageError) as caught:
        explain_forward(model, torch.rand(batch, channels, size, size), classes)
    return caught.value


def summary_of(*arguments, **keywords):
    """The first line and the hint."""
    error = error_of(*arguments, **keywords)
    return error.message.partition("\n")[0] + " | " + error.hint
