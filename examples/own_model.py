"""Train a network of your own on the included digits, and classify an image with it.

Run it: python examples/own_model.py [--epochs N]; about 15 seconds on two CPU cores.
The same from the command line: loupe train digits --model examples/own_model.py:TwoConvs
"""

import argparse

import torch
from torch import Tensor, nn

import torchloupe as loupe


class TwoConvs(nn.Module):
    """Two convolutions and a linear layer, written out."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.fc = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.conv1(images))
        x = torch.relu(self.conv2(x)).amax(dim=(2, 3))
        return self.fc(x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=float, default=10)
    epochs = parser.parse_args().epochs
    run = loupe.fit(
        "digits",
        model=TwoConvs,
        loss=nn.CrossEntropyLoss(label_smoothing=0.05),
        optimizer=torch.optim.Adam,
        epochs=epochs,
    )
    accuracy, (low, high) = run.metrics["test"]["accuracy"], run.metrics["test"]["accuracy_ci95"]
    print(f"test accuracy {accuracy:.1%} (95 % interval {low:.1%} to {high:.1%}) in {run.folder}")
    print(run.predict(torch.zeros(8, 8, dtype=torch.uint8)))


if __name__ == "__main__":
    main()
