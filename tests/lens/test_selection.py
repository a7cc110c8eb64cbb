"""Layers by name, pattern, type and module, and what is said where there is none."""

import pytest
import torch
from torch import nn

from torchloupe.errors import UsageError
from torchloupe.lens.selection import plain_model, refuse_closed, select_layers
from torchloupe.model.zoo import CNN, Net, ResidualNet


@pytest.mark.parametrize(
    ("which", "names"),
    [
        ("stem.conv", ["stem.conv"]),
        ("ste*.conv", ["stem.conv"]),
        ("stage1.*conv|fc", [*(f"stage1.{n}.conv" for n in ("0", "1.first", "1.second")), "fc"]),
        ("fc | stem", ["stem", "fc"]),
        ("Linear", ["fc"]),
        (nn.Linear, ["fc"]),
        ([nn.Linear, "stem"], ["stem", "fc"]),
        ("ResidualNet", [""]),
        (ResidualNet, [""]),
    ],
)
def test_select_layers_takes_names_patterns_and_types(which, names) -> None:
    assert list(select_layers(ResidualNet(), which)) == names


def test_select_layers_takes_a_module_of_the_model() -> None:
    model = Net()
    assert select_layers(model, model.fc) == {"fc": model.fc}
    assert select_layers(model, model) == {"": model}


def test_select_layers_takes_all_but_the_model_for_a_star() -> None:
    assert list(select_layers(Net(), "*")) == ["conv", "fc"]


@pytest.mark.parametrize(
    ("which", "text"),
    [
        ("conw", "no layer matches 'conw'\nhint: did you mean 'conv'?"),
        ("conv|fcc*", "no layer matches 'fcc*'\nhint: did you mean 'fc'?"),
        ("Linaer", "no layer matches 'Linaer'\nhint: did you mean 'Linear'?"),
        ("xyz\x1b[31m", "no layer matches 'xyz\\\\x1b[31m'\nhint: the layers are conv, fc"),
        ("", "no layer matches ''\nhint: the layers are conv, fc"),
        ([], "no layer matches ''\nhint: the layers are conv, fc"),
        (nn.ReLU, "the model has no layer of type ReLU\nhint: the layers are conv, fc"),
    ],
)
def test_select_layers_refuses_what_means_nothing(which, text) -> None:
    with pytest.raises(UsageError) as caught:
        select_layers(Net(), which)
    assert str(caught.value) == text


def test_select_layers_refuses_a_module_of_another_model() -> None:
    with pytest.raises(UsageError, match="this Linear is not a layer of the model"):
        select_layers(Net(), nn.Linear(1, 1))


def test_select_layers_names_a_few_of_many() -> None:
    with pytest.raises(UsageError, match=r"hint: the layers are stem, .* and 18 more$"):
        select_layers(ResidualNet(), "zzzzzzzz")


def test_names_leave_out_the_parallel_prefix() -> None:
    model = Net()
    assert list(select_layers(nn.DataParallel(model), "*")) == ["conv", "fc"]
    assert plain_model(nn.DataParallel(model)) is model
    assert select_layers(nn.DataParallel(model), nn.DataParallel(model)) == {"": model}


def test_refuse_closed_names_the_compiled_part() -> None:
    model = CNN()
    model[3] = torch.compile(model[3])
    refuse_closed(model, ["0", "1"])
    with pytest.raises(UsageError, match="can't look at 3: 3 is compiled"):
        refuse_closed(model, ["3"])


def test_refuse_closed_names_the_compiled_model() -> None:
    for model in (torch.compile(Net()), nn.DataParallel(torch.compile(Net()))):
        with pytest.raises(UsageError, match="look at conv: the model is compiled") as caught:
            refuse_closed(model, ["conv"])
        assert "model._orig_mod" in caught.value.hint
    in_place = Net()
    in_place.compile()
    with pytest.raises(UsageError, match="the model is compiled"):
        refuse_closed(in_place, ["fc"])
