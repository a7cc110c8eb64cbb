"""Names become networks: the zoo, one's own code, and what is refused."""

from typing import Any

import pytest
import torch
from torch import nn

from torchloupe.errors import UsageError
from torchloupe.model.catalog import find_arguments, make_model, model_names, without_weights
from torchloupe.model.zoo import CNN, Net, ResidualNet

FACTS = {"in_channels": 1, "classes": 4, "image_size": (12, 12)}

OWN = """
import torch
from torch import nn

class Plain(nn.Module):
    def __init__(self, num_classes=10, in_chans=3, img_size=32):
        super().__init__()
        self.seen = (num_classes, in_chans, img_size)
        self.fc = nn.Linear(in_chans * img_size * img_size, num_classes)
    def forward(self, x):
        return self.fc(x.flatten(1))

class Shaped(nn.Module):
    def __init__(self, input_shape, n_classes):
        super().__init__()
        self.seen = (input_shape, n_classes)

class Fixed(nn.Module):
    pass

class Needy(nn.Module):
    def __init__(self, hidden, depth, classes=3):
        super().__init__()
        self.seen = (hidden, depth, classes)

class Forgetful(nn.Module):
    def __init__(self):
        self.fc = nn.Linear(3, 3)

class Broken(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.fc = nn.Linear("three", classes)

class NoModule:
    pass

def make(classes, width=8):
    return nn.Linear(width, classes)

def odd():
    return [1, 2]

instance = nn.Linear(2, 3)
number = 3
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "nets.py").write_text(OWN)
    return lambda name, **options: make_model(
        f"{tmp_path}/nets.py:{name}", **FACTS, options=options
    )


@pytest.mark.parametrize(
    ("name", "kind"), [("net", Net), ("cnn", CNN), ("residual", ResidualNet), ("CNN", CNN)]
)
def test_zoo_by_name(name, kind):
    model = make_model(name, **FACTS)
    assert type(model) is kind
    assert model(torch.rand(2, 1, 12, 12)).shape == (2, 4)


def test_zoo_takes_options():
    assert make_model("cnn", **FACTS, options={"widths": [4, 8, 16]})[-1].in_features == 16 * 16
    assert make_model("residual", **FACTS, options={"width": 8}).fc.in_features == 32


def test_model_names():
    assert model_names() == ["net", "cnn", "residual"]
    assert "torchvision:resnet18" in model_names("torchvision")
    assert "timm:resnet10t" in model_names("timm")


def test_own_class_gets_what_its_signature_names(own):
    assert own("Plain").seen == (4, 1, 12)
    assert own("Shaped").seen == ((1, 12, 12), 4)
    assert own("Needy", hidden=5, depth=2).seen == (5, 2, 4)
    assert type(own("Fixed")).__name__ == "Fixed"


def test_own_class_options_win_over_the_data(own):
    assert own("Plain", num_classes=7).seen == (7, 1, 12)


def test_own_function_and_instance(own):
    assert own("make", width=3).weight.shape == (4, 3)
    assert own("instance").out_features == 3


def test_model_from_python_objects():
    layer = nn.Linear(2, 3)
    assert make_model(layer, **FACTS) is layer
    assert type(make_model(ResidualNet, **FACTS)) is ResidualNet
    assert make_model(lambda classes: nn.Linear(2, classes), **FACTS).out_features == 4
    assert make_model("torch.nn:Linear", **FACTS, options={"in_features": 2, "out_features": 6})


def error_of(call):
    with pytest.raises(UsageError) as caught:
        call()
    return f"{caught.value.message} | {caught.value.hint}"


def test_own_code_error_texts(own, tmp_path):
    file = f"{tmp_path}/nets.py"
    assert error_of(lambda: own("Needy")) == (
        f"model {file}:Needy needs hidden, depth, which the data don't tell: its signature is "
        "Needy(hidden, depth, classes=3) | give it as --set model.options.hidden=VALUE, or give "
        "it a default"
    )
    assert error_of(lambda: own("Plain", widht=3)).startswith(
        f"model {file}:Plain has no option widht | known: img_size, in_chans, num_classes; its "
        "signature is Plain(num_classes=10, in_chans=3, img_size=32)"
    )
    assert error_of(lambda: own("Forgetful")).endswith(
        "nets.py, line 28: AttributeError: cannot assign module before Module.__init__() call | "
        "call super().__init__() first in its __init__"
    )
    broken = error_of(lambda: own("Broken"))
    assert broken.startswith(
        f"model {file}:Broken can't be made with classes=4: nets.py, line 33: TypeError: "
    )
    assert "| its signature is Broken(classes); set arguments as --set model" in broken
    assert error_of(lambda: own("NoModule")) == (
        f"model {file}:NoModule gave a NoModule, not an nn.Module | make it a subclass of "
        "torch.nn.Module"
    )
    assert error_of(lambda: own("odd")).startswith(f"model {file}:odd gave a list, not an nn.Mod")
    assert error_of(lambda: own("number")).startswith(f"model {file}:number is a int, not an nn.M")
    assert error_of(lambda: own("instance", width=3)).startswith(
        f"model.options can't be applied to {file}:instance, which is already made"
    )


def test_unknown_model_error_texts():
    def unknown(name, **options):
        return error_of(lambda: make_model(name, **FACTS, options=options))

    assert unknown("residul") == (
        "there is no model 'residul' | did you mean 'residual'? (others: torchvision:NAME, "
        "timm:NAME, your own: file.py:Class)"
    )
    assert unknown("resnet18") == (
        "there is no model 'resnet18' | did you mean torchvision:resnet18 or timm:resnet18?"
    )
    assert unknown("cnn", width=3) == (
        "model cnn has no option width | did you mean 'widths'?; its signature is "
        "CNN(in_channels: int = 1, classes: int = 10, widths: tuple[int, ...] = (32, 64))"
    )
    assert unknown("residual", pretrained=True).startswith("model residual has no option pretrai")


def test_without_weights_leaves_the_architecture():
    options = {"pretrained": True, "weights": "DEFAULT", "width": 3}
    assert without_weights(options) == {"width": 3}


def test_own_class_annotated_with_names_for_type_checkers(tmp_path):
    (tmp_path / "typed.py").write_text(
        "from __future__ import annotations\n"
        "from typing import TYPE_CHECKING\n"
        "from torch import nn\n"
        "if TYPE_CHECKING:\n    from collections.abc import Sequence\n\n"
        "class Typed(nn.Linear):\n"
        "    def __init__(self, classes: int, image_size: int, widths: Sequence[int] = (1,)):\n"
        "        super().__init__(image_size, classes)\n"
    )
    model = make_model(f"{tmp_path}/typed.py:Typed", **FACTS)
    assert (model.in_features, model.out_features) == (12, 4)


class Handed(nn.Module):
    """A network that only a function which hands its arguments on makes."""

    def __init__(self, depth: int, num_classes: int = 1000) -> None:
        super().__init__()
        self.head = nn.Linear(depth, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(images.flatten(1)[:, :2])  # type: ignore[no-any-return]


def hand_on(**kwargs: object) -> Handed:
    return Handed(2, **kwargs)  # type: ignore[arg-type]


def hand_on_wrongly(**kwargs: object) -> Handed:
    return Handed("two", **kwargs)  # type: ignore[arg-type]


def hand_nothing_on(**kwargs: object) -> nn.Module:
    if kwargs:
        raise TypeError("takes nothing")
    return nn.Flatten()


def test_a_function_that_hands_its_arguments_on_is_given_the_number_of_classes() -> None:
    facts: dict[str, Any] = {"in_channels": 1, "classes": 7, "image_size": (4, 4)}
    made = make_model(hand_on, **facts)
    assert isinstance(made, Handed)
    assert made.head.out_features == 7
    assert find_arguments(hand_on, **facts) == {"num_classes": 7}
    own = make_model(hand_on, **facts, options={"num_classes": 3})
    assert own.head.out_features == 3  # type: ignore[union-attr]
    assert find_arguments(hand_nothing_on, **facts) == {}
    with pytest.raises(UsageError, match="can't be made with no arguments"):
        make_model(hand_on_wrongly, **facts)
