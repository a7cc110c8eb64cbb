"""Samples that checks read: spread out, in time, with generators as they were."""

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset
from torchvision import transforms

from torchloupe.checks.readings import names_randomness, read_items, spread_rows
from torchloupe.data.contract import Contract

CONTRACT = Contract("L", 1, (8, 8), dtype="float32", value_low=0.0, value_high=1.0)


class Noisy(Dataset[tuple[Tensor, int]]):
    """Each item is drawn from torch's generator, after a nap."""

    def __init__(self, nap: float = 0.0) -> None:
        self.nap = nap

    def __len__(self) -> int:
        return 20

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        time.sleep(self.nap)
        return torch.rand(1, 8, 8), row % 2


def test_rows_are_spread_evenly() -> None:
    assert spread_rows(np.arange(10), 5).tolist() == [0, 2, 4, 6, 8]
    assert spread_rows(np.arange(3), 5).tolist() == [0, 1, 2]
    assert spread_rows(np.arange(0), 5).tolist() == []


def test_items_depend_on_the_seed_and_generators_are_put_back() -> None:
    before = torch.get_rng_state()
    rows = np.arange(4)
    first, again, other = (read_items(Noisy(), CONTRACT, rows, seed, 9.0) for seed in (0, 0, 1))
    assert first.shape == (4, 1, 8, 8)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_slow_dataset_is_read_only_for_a_while() -> None:
    assert 1 <= len(read_items(Noisy(0.05), CONTRACT, np.arange(20), 0, 0.1)) < 10


def test_items_that_cannot_be_read_give_none() -> None:
    broken: Any = [("nothing", 0)] * 4
    assert len(read_items(broken, CONTRACT, np.arange(4), 0, 1.0)) == 0


def test_random_transforms_are_recognised_by_name() -> None:
    class Own(Noisy):
        transform = None

        def __getitem__(self, row: int) -> tuple[Tensor, int]:
            return torch.from_numpy(np.random.default_rng(0).random((1, 8, 8))).float(), 0

    flipping = Noisy()
    flipping.transform = transforms.Compose([transforms.RandomHorizontalFlip()])  # type: ignore[attr-defined]
    plain = TensorDataset(torch.zeros(2, 1, 8, 8), torch.zeros(2))
    assert names_randomness(flipping)
    assert names_randomness(Subset(flipping, [0]))
    assert names_randomness(Own())
    assert not names_randomness(plain)
    assert not names_randomness([(torch.zeros(1, 2, 2), 0)])  # a list has no attributes
