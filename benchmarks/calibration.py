"""The calibration of an overconfident network before and after its temperature, on Fashion-MNIST.

    python benchmarks/calibration.py --out runs/overconfident

20 epochs of a small network without label smoothing, augmentation, weight decay or
averaged weights: it ends sure of nearly everything. The temperature is fitted on val (6,000 of
the training images); the errors are those of the 10,000 test images.
"""

import argparse
import json

from fashion import FOLDER
from torch import nn

import torchloupe as loupe

PLAIN = {
    "loss.smoothing": 0.0,
    "train.average": 0.0,
    "augment.policy": "none",
    "optimizer.weight_decay": 0.0,
    "train.batch_total": 128,
    "schedule.name": "constant",
    "hardware.precision": "fp32",
    "hardware.device": "cpu",
    "lens.signals": False,
}


def make_network(kind):
    """Two convolutions and two full layers; or two full layers, which take a tenth of the time."""
    if kind == "full":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=str(FOLDER))
    parser.add_argument("--network", choices=("convolutions", "full"), default="convolutions")
    parser.add_argument("--epochs", type=float, default=20)
    parser.add_argument("--out", default=None)
    options = parser.parse_args()
    run = loupe.fit(
        options.data,
        model=make_network(options.network),
        epochs=options.epochs,
        optimizer="adam",
        lr=1e-3,
        out=options.out,
        settings=PLAIN,
    )
    test = run.metrics["test"]
    found = {"temperature": run.contract.temperature, **test["calibration"]}
    found |= {"accuracy": test["accuracy"], "ratio": found["after"]["ece"] / found["before"]["ece"]}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
