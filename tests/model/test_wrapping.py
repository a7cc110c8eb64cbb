"""Models inside what torch wraps around them: their weights keep the author's names."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import own_models
from torchloupe.errors import UsageError
from torchloupe.model.catalog import make_model
from torchloupe.model.wrapping import is_compiled, unwrap


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        torch.compile,
        AveragedModel,
        lambda model: nn.DataParallel(torch.compile(model)),
        lambda model: torch.compile(nn.DataParallel(model)),
    ],
)
def test_unwrap_gives_the_names_of_the_author(wrap):
    model = own_models.Small()
    names = list(model.state_dict())
    assert list(unwrap(wrap(model)).state_dict()) == names
    own = own_models.Small()
    own.body = wrap(own.body)
    assert list(unwrap(own).state_dict()) == names
    assert list(unwrap(copy.deepcopy(model)).state_dict()) == names


def test_unwrap_gives_a_plain_model_itself():
    model = own_models.Small()
    assert unwrap(model) is model
    assert not is_compiled(model)


def test_compiled_models_are_known_in_all_forms():
    part, inner = own_models.Small(), own_models.Small()
    part.fc = torch.compile(part.fc)
    inner.compile()
    for model in (part, inner, torch.compile(own_models.Small())):
        assert is_compiled(model)
        assert not is_compiled(unwrap(model))


def test_make_model_unwraps_what_a_function_gives():
    made = make_model(
        lambda: nn.DataParallel(own_models.Small()), in_channels=3, classes=4, image_size=(8, 8)
    )
    assert isinstance(made, own_models.Small)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(("place", "name"), [(lambda m: m, "the model"), (nn.Sequential, "0")])
def test_unwrap_refuses_scripted_modules(place, name):
    scripted = torch.jit.trace(nn.Linear(3, 2), torch.ones(1, 3))
    with pytest.raises(UsageError) as caught:
        unwrap(place(scripted))
    assert caught.value.message == (
        f"{name} (Linear) is a torch.jit module, which can't be trained here: copies of it get no "
        "gradients"
    )


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_class_that_derives_from_script_module_is_told_what_to_derive_from():
    class Drop(torch.jit.ScriptModule):
        pass

    with pytest.raises(UsageError) as caught:
        unwrap(nn.Sequential(nn.Linear(3, 2), Drop()))
    assert caught.value.message.startswith("1 (Drop) is a torch.jit module")
    assert caught.value.hint == (
        "let the class Drop derive from nn.Module, without @torch.jit.script_method"
    )


def test_unwrap_refuses_modules_of_torch_export():
    made = torch.export.export(nn.Linear(2, 2), (torch.zeros(3, 2),)).module()
    with pytest.raises(UsageError, match=r"the model was made by torch\.export"):
        unwrap(made)
