"""What a constructor's arguments mean, by their names, defaults and neighbours."""

import inspect

import pytest
import torch
from torch import nn

from torchloupe.model.catalog import make_model
from torchloupe.model.constructor import name_arguments

FACTS = {
    "in_channels": 1,
    "classes": 4,
    "image_size": (12, 12),
    "input_shape": (1, 12, 12),
}


def first_reading(function):
    parameters = list(inspect.signature(function).parameters.values())
    return name_arguments(parameters, FACTS)[0]


@pytest.mark.parametrize(
    "name",
    [
        "n_class", "num_class", "nclass", "class_num", "nb_class", "nc", "nClasses", "numClasses",
        "num_classes", "n_labels", "num_outputs", "classes", "output_size", "output_dim", "n_out",
        "number_of_classes", "num_categories", "out_features",
    ],
)  # fmt: skip
def test_names_of_the_number_of_classes(name):
    assert first_reading(eval(f"lambda {name}: 0")) == {name: 4}


@pytest.mark.parametrize(
    "name",
    [
        "channels", "in_channels", "n_channels", "inChannels", "in_chans", "img_channels",
        "image_channels", "num_channels", "channels_in", "input_channels", "in_ch", "channel",
    ],
)  # fmt: skip
def test_names_of_the_channels(name):
    assert first_reading(eval(f"lambda {name}: 0")) == {name: 1}


@pytest.mark.parametrize(
    "name", ["img_size", "image_size", "input_size", "imgSize", "resolution", "img_dim", "imsize"]
)
def test_names_of_the_image_size(name):
    assert first_reading(eval(f"lambda {name}=32: 0")) == {name: 12}
    assert first_reading(eval(f"lambda {name}=(32, 32): 0")) == {name: (12, 12)}


def test_height_width_and_number_of_values():
    assert first_reading(lambda img_height, img_width: 0) == {"img_height": 12, "img_width": 12}
    assert first_reading(lambda height, width: 0) == {"height": 12, "width": 12}
    assert first_reading(lambda in_features, num_classes: 0) == {
        "in_features": 144, "num_classes": 4
    }  # fmt: skip


def test_names_with_two_meanings_are_settled_by_default_and_neighbours():
    assert first_reading(lambda channels=3, n_class=10: 0) == {"channels": 1, "n_class": 4}
    assert first_reading(lambda n_class, channels=64: 0) == {"n_class": 4}
    assert first_reading(lambda in_chans, channels, n_class: 0) == {"in_chans": 1, "n_class": 4}
    assert first_reading(lambda nc, ch=3: 0) == {"nc": 4}
    assert first_reading(lambda nc, num_classes: 0) == {"nc": 1, "num_classes": 4}
    assert first_reading(lambda num_classes, width=32: 0) == {"num_classes": 4}
    assert first_reading(lambda num_classes, out_features=128: 0) == {"num_classes": 4}
    assert first_reading(lambda n_class, in_features=512: 0) == {"n_class": 4}
    assert first_reading(lambda n_class, height=None: 0) == {"n_class": 4}
    assert first_reading(lambda *channels: 0) == {}
    assert first_reading(lambda n_class, **more: 0) == {"n_class": 4}
    assert first_reading(lambda *channels, **classes: 0) == {"num_classes": 4}


class Flat(nn.Module):
    """A perceptron as tutorials write it: `input_size` is the number of values."""

    def __init__(self, input_size, hidden, num_classes):
        super().__init__()
        self.seen = input_size
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(input_size, hidden), nn.ReLU(), nn.Linear(hidden, num_classes)
        )

    def forward(self, x):
        return self.layers(x)


class Sided(nn.Module):
    """A network whose `input_size` is a side."""

    def __init__(self, input_size, num_classes):
        super().__init__()
        self.seen = input_size
        self.fc = nn.Linear(input_size // 2 * (input_size // 2), num_classes)

    def forward(self, x):
        return self.fc(nn.functional.max_pool2d(x, 2).flatten(1))


class Paired(nn.Module):
    """A network whose `input_size` is (height, width)."""

    def __init__(self, input_size, num_classes):
        super().__init__()
        height, width = self.seen = input_size
        self.fc = nn.Linear(height * width, num_classes)

    def forward(self, x):
        return self.fc(x.flatten(1))


@pytest.mark.parametrize(
    ("network", "seen", "options"),
    [(Flat, 144, {"hidden": 8}), (Sided, 12, {}), (Paired, (12, 12), {})],
)
def test_input_size_means_what_a_trial_forward_takes(network, seen, options):
    model = make_model(network, in_channels=1, classes=4, image_size=(12, 12), options=options)
    assert model.seen == seen
    assert model(torch.rand(2, 1, 12, 12)).shape == (2, 4)


def test_trial_forward_leaves_random_numbers_and_the_model_alone():
    torch.manual_seed(3)
    model = make_model(Paired, in_channels=1, classes=4, image_size=(12, 12))
    after = torch.rand(1)
    torch.manual_seed(3)
    plain = Paired((12, 12), 4)
    assert torch.equal(model.fc.weight, plain.fc.weight)
    assert torch.equal(after, torch.rand(1))
    assert model.training
