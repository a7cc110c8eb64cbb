"""A check leaves weights, gradients, statistics, optimizer state and generators bit for bit."""

import copy
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import torchloupe as loupe
from torchloupe.config.settings import Settings
from torchloupe.lens.watch import tensors_in
from torchloupe.prepare.objects import UserObjects
from torchloupe.prepare.session import prepare_session


class Net(nn.Module):
    """Everything that has a state: weights, BatchNorm, dropout, a random number in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.is_noisy = True
        self.conv, self.norm = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)
        self.drop, self.fc = nn.Dropout(0.5), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.is_noisy:
            x = x + 0.01 * torch.randn_like(x) * random.random() * np.random.random()
        return self.fc(self.drop(self.norm(self.conv(x)).relu().mean(dim=(2, 3))))


def bits(model: nn.Module, optimizer: torch.optim.Optimizer, others: list[Any]) -> list[Any]:
    state = optimizer.state_dict()
    tensors = [*model.state_dict().values(), *tensors_in(state["state"])]
    tensors += [p.grad for p in model.parameters() if p.grad is not None]
    numpy_state = np.random.get_state()
    tensors += [torch.random.get_rng_state(), torch.from_numpy(numpy_state[1].astype(np.int64))]
    tensors += [generator.get_state() for generator in others]
    modes = [module.training for module in model.modules()]
    return [[t.clone() for t in tensors], random.getstate(), modes, state["param_groups"]]


def are_equal(one: list[Any], other: list[Any]) -> bool:
    same = len(one[0]) == len(other[0]) and all(
        torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True)
    )
    return same and one[1:] == other[1:]


def test_check_leaves_every_bit_as_it_was() -> None:
    torch.manual_seed(0)
    model, draw = Net(), torch.Generator().manual_seed(3)
    images, labels = torch.randn(40, 1, 8, 8), torch.arange(40) % 4
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
    model.fc.weight.requires_grad_(True)
    dataset = torch.utils.data.TensorDataset(images, labels)
    loader = torch.utils.data.DataLoader(dataset, 8, shuffle=True, generator=draw)
    before = copy.deepcopy(bits(model, optimizer, [draw]))
    loupe.check(model, loader, optimizer=optimizer)
    assert are_equal(bits(model, optimizer, [draw]), before)
    torch.rand(1)
    assert not are_equal(bits(model, optimizer, [draw]), before)


def test_a_run_begins_with_the_same_bits_with_checks_and_without() -> None:
    found = []
    for level in ("off", "warn"):
        torch.manual_seed(0)
        model = nn.Sequential(Net(), nn.ReLU(), nn.Linear(4, 10))
        typed = {"check.level": level, "hardware.precision": "fp32", "hardware.threads": 1}
        typed |= {"hardware.channels_last": False, "train.epochs": 2, "data.size": "8"}
        settings = Settings().with_typed({"data.source": "digits", "model.name": PYTHON, **typed})
        session = prepare_session(settings, UserObjects("digits", model))
        found.append(bits(session.state.model, session.state.optimizer, [])[0][:-2])
    assert are_equal([found[0]], [found[1]])


PYTHON = "python object"
