"""Ways of computing a step: compared with fp32, timed, and taken only where they gain."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from torchloupe.data.feeds.feed import Batch
from torchloupe.model.zoo import CNN, ResidualNet
from torchloupe.speed.trial import Trial, Variant, choose_variant, probe


def make_batch() -> Batch:
    torch.manual_seed(3)
    images = torch.randn(16, 1, 8, 8).contiguous(memory_format=torch.channels_last)
    return Batch(images, torch.randint(0, 10, (16,)), np.arange(16))


def make_adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters())


class OnlyFloat(nn.Module):
    """A model that can't be autocast."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.fc(images.flatten(1))
        if x.dtype != torch.float32:
            raise RuntimeError("this layer wants float32\nand more")
        return x


def test_probe_times_every_way_that_agrees_and_changes_nothing() -> None:
    model, batch = ResidualNet(1, 10).train(), make_batch()
    before = copy.deepcopy(model.state_dict())
    random_state, threads = torch.get_rng_state(), torch.get_num_threads()
    variants = [
        Variant(threads=1),
        Variant(threads=1, channels_last=False),
        Variant("bf16", threads=1),
    ]
    trials = probe(model, nn.CrossEntropyLoss(), make_adam, batch, variants, seconds=0.2)
    assert [trial.variant for trial in trials] == variants
    assert all(trial.images_per_second > 0 for trial in trials if trial.agrees)
    assert trials[0].loss_gap == trials[0].gradient_gap == 0
    assert 0 < trials[2].gradient_gap < 1
    assert all(map(torch.equal, model.state_dict().values(), before.values()))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.get_num_threads() == threads
    assert all(parameter.grad is None for parameter in model.parameters())


def test_probe_leaves_out_a_way_that_fails_and_one_that_differs() -> None:
    variants = [Variant(threads=1), Variant("bf16", threads=1)]
    trials = probe(
        OnlyFloat(), nn.CrossEntropyLoss(), make_adam, make_batch(), variants, seconds=0.1
    )
    assert trials[1].problem == "this layer wants float32"
    assert not trials[1].agrees
    assert trials[1].rates == []

    class Rough(CNN):
        """Twice the logits outside fp32."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = super().forward(images)
            return logits if logits.dtype == torch.float32 else 2 * logits

    trials = probe(Rough(), nn.CrossEntropyLoss(), make_adam, make_batch(), variants, seconds=0.1)
    assert not trials[1].problem
    assert not trials[1].agrees
    assert trials[1].rates == []
    assert choose_variant(trials) is trials[0]


@pytest.mark.parametrize(
    ("rates", "chosen"), [((100, 105, 90), 0), ((100, 120, 130), 2), ((0, 50, 40), 1)]
)
def test_choose_way_takes_another_only_where_it_is_clearly_faster(
    rates: tuple[int, ...], chosen: int
) -> None:
    trials = [Trial(Variant(threads=n + 1), rates=[rate] * 3) for n, rate in enumerate(rates)]
    assert choose_variant(trials) is trials[chosen]


def test_of_ways_about_as_fast_the_most_usual_is_taken() -> None:
    variants = [
        Variant("fp32", True, 2),
        Variant("bf16", True, 2),
        Variant("bf16", False, 2),
        Variant("bf16", False),
    ]
    trials = [
        Trial(variant, rates=[rate])
        for variant, rate in zip(variants, (100, 196, 200, 203), strict=True)
    ]
    assert choose_variant(trials) is trials[1]
    trials[1].rates = [150]
    assert choose_variant(trials) is trials[2]
