"""Fashion-MNIST as arrays, from its four IDX files; noise of the same shape where they are not."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from torchvision import transforms

FOLDER = Path("/usr/share/datasets/fashion-mnist")  # the files as they are published
MEAN, STD = 0.2860, 0.3530
Part = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images [N, 28, 28], labels [N]


class FashionImages(Dataset[tuple[torch.Tensor, int]]):
    """The usual Dataset: a decoded image and its label, through torchvision's usual transforms."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self.images, self.labels = images, labels
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[row]), int(self.labels[row])


def read_part(name: str) -> Part:
    """The images and labels of "train" or "t10k"; FileNotFoundError where they are not."""
    return (
        _read_idx(FOLDER / f"{name}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28),
        _read_idx(FOLDER / f"{name}-labels-idx1-ubyte.gz", 8).astype(np.int64),
    )


def make_part(count: int) -> Part:
    """The first `count` training images, or noise: enough where only speed counts."""
    if count <= 60_000 and (FOLDER / "train-images-idx3-ubyte.gz").exists():
        images, labels = read_part("train")
        return images[:count], labels[:count]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return images, np.arange(count, dtype=np.int64) % 10


def normalise(images: NDArray[np.uint8]) -> torch.Tensor:
    """Images [N, 1, 28, 28] as the Dataset gives them, all at once."""
    return (torch.from_numpy(images)[:, None].float() / 255 - MEAN) / STD


def _read_idx(path: Path, header_bytes: int) -> NDArray[Any]:
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), dtype=np.uint8, offset=header_bytes)
