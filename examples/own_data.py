"""Train on a Dataset of your own: anything with __len__ and __getitem__ that gives (image, label).

Run it: python examples/own_data.py [--epochs N]; about 10 seconds on two CPU cores.
The same from the command line: loupe train examples/own_data.py:dataset
"""

import argparse

import torch
from torch import Tensor
from torch.utils.data import Dataset

import torchloupe as loupe


class Stripes(Dataset):
    """Generated images [1, 16, 16] of horizontal, vertical and diagonal stripes in noise."""

    classes = ("horizontal", "vertical", "diagonal")

    def __init__(self, count: int) -> None:
        self.targets = [index % 3 for index in range(count)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        generator = torch.Generator().manual_seed(index)
        label = self.targets[index]
        y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
        place = (y, x, (x + y) / 2)[label] + 6 * torch.rand((), generator=generator)
        noise = 0.5 * torch.randn(16, 16, generator=generator)
        return (torch.sin(place) + noise)[None], label


def dataset() -> Stripes:
    """What `loupe train examples/own_data.py:dataset` calls."""
    return Stripes(600)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=float, default=4)
    run = loupe.fit(dataset(), model="cnn", epochs=parser.parse_args().epochs)
    print(f"test accuracy {run.metrics['test']['accuracy']:.1%} in {run.folder}")


if __name__ == "__main__":
    main()
