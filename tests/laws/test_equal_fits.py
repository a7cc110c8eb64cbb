"""Law: two equal fits give equal weights, whatever the process did before and between them."""

import random
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import torchloupe as loupe

DRAW = np.random.default_rng(0)
IMAGES, LABELS = DRAW.integers(0, 256, (96, 24, 24, 3), np.uint8), np.arange(96) % 4


class Plain(nn.Module):
    """What a tutorial has, with what draws numbers and keeps statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv2, self.drop = nn.Conv2d(16, 32, 3, 2, 1), nn.Dropout(0.2)
        self.fc = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.norm(self.conv1(x)).relu()).relu()
        return self.fc(self.drop(x.mean(dim=(2, 3))))


def fitted(out: Path) -> dict[str, Tensor]:
    """The weights of one fit, which is the same each time."""
    torch.manual_seed(7)
    run = loupe.fit(
        (IMAGES, LABELS),
        model=Plain(),
        epochs=1,
        batch_size=48,
        out=out,
        settings={"train.report": False, "augment.translate": 0.1},
    )
    assert run.config.hardware.threads == 0  # as many as the process has
    return run.model.state_dict()


def fit_digits(out: Path) -> None:
    """A fit that is faster in one thread, and takes one."""
    settings = {"train.report": False}
    run = loupe.fit("digits", model="net", epochs=0.1, out=out, settings=settings)
    assert run.config.hardware.threads == 1


def test_equal_fits_are_equal_after_other_fits_numbers_and_memory(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = fitted(tmp_path / "first")
        fit_digits(tmp_path / "other")
        assert torch.get_num_threads() == 2
        torch.rand(1000), np.random.rand(10), random.random()
        dirty = [torch.full((2**power,), float("nan")) for power in range(4, 20)]
        del dirty
        second = fitted(tmp_path / "second")
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(first[name], second[name]) for name in first)
