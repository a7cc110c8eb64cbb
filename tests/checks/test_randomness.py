"""Weights as an initialisation leaves them, told from trained ones."""

import pytest
import timm
import torch
from torch import nn

from torchloupe.checks.randomness import looks_random, weighted_layers
from torchloupe.model.backbones import load_pretrained
from torchloupe.model.transfer import LITE, make_transfer


@pytest.mark.parametrize(
    "draw",
    [
        lambda _weight: None,
        nn.init.kaiming_normal_,
        nn.init.xavier_uniform_,
        nn.init.trunc_normal_,
        nn.init.orthogonal_,
    ],
)
@pytest.mark.parametrize("shape", [(64, 128), (32, 16, 3, 3)])
def test_fresh_weights_look_random(draw, shape) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(128, 64) if len(shape) == 2 else nn.Conv2d(16, 32, 3)
    draw(layer.weight)
    assert looks_random(layer.weight)


def test_too_few_numbers_and_constants_say_nothing() -> None:
    assert looks_random(torch.randn(4, 4)) is None
    assert looks_random(torch.ones(64, 64)) is None


def test_a_few_steps_of_training_show_in_a_default_draw() -> None:
    torch.manual_seed(0)
    layer, images = nn.Linear(64, 32), torch.randn(16, 64)
    assert looks_random(layer.weight)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    for _ in range(5):
        optimizer.zero_grad()
        layer(images).square().mean().backward()
        (layer(images) - images[:, :32]).square().sum().backward()
        optimizer.step()
    assert not looks_random(layer.weight)


def test_layers_of_a_pretrained_network_are_told_from_fresh_ones() -> None:
    model = make_transfer(LITE, in_channels=3, classes=5, image_size=(64, 64))
    fresh = [looks_random(layer.weight) for layer in weighted_layers(model.body).values()]
    load_pretrained(model, LITE, "auto")
    loaded = [looks_random(layer.weight) for layer in weighted_layers(model.body).values()]
    assert sum(found is True for found in fresh) > 0.8 * sum(found is not None for found in fresh)
    assert sum(found is True for found in loaded) < 0.1 * len(loaded)


def test_weighted_layers_are_linear_and_convolutions() -> None:
    model = timm.create_model("resnet10t", num_classes=3)
    kinds = {type(layer) for layer in weighted_layers(model).values()}
    assert kinds == {nn.Conv2d, nn.Linear}
