"""Copies of models that keep what a forward left in their attributes."""

import io
import threading

import pytest
import torch
from torch import nn

import own_models
from torchloupe.errors import UsageError
from torchloupe.lens.batch_dependence import first_difference
from torchloupe.lens.copies import copy_hook, copy_model, deep_copy
from torchloupe.lens.repetition import find_parting


@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
def test_copy_model_copies_activations_without_their_graph():
    model = own_models.Keeping()
    model.fc = torch.nn.utils.weight_norm(model.fc)
    images = torch.randn(2, 3, 8, 8)
    model(images)
    copied = copy_model(model)
    assert copied.features.grad_fn is None
    assert model.features.grad_fn is not None
    assert torch.equal(copied.features, model.features)
    assert torch.equal(copied.eval()(images), model.eval()(images))


def test_copy_model_names_what_can_not_be_copied():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    model[0].numbers = (number for number in range(3))
    with pytest.raises(UsageError) as caught:
        copy_model(model)
    assert caught.value.message.endswith("(0.numbers)")


def test_images_that_a_model_changes_in_place_are_left_alone():
    class InPlace(torch.nn.Module):
        def forward(self, images):
            images -= 1
            return images.flatten(1)

    images = torch.ones(2, 3)
    assert first_difference(InPlace(), InPlace(), images) is None
    assert find_parting(InPlace(), images) is None and bool((images == 1).all())


class Hooked(own_models.Small):
    """Takes its features from what a hook keeps; its functions refer to the model."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.power = torch.nn.Parameter(torch.tensor(3.0))
        self.kept: dict[str, torch.Tensor] = {}
        others: list[torch.Tensor] = []
        if kind == "attribute":
            self.body.register_forward_hook(lambda m, i, o: self.kept.update(x=o))
            self.read = lambda: self.kept["x"]
        elif kind == "captured":
            self.body.register_forward_hook(lambda m, i, o, keep=others: keep.append(o))
            self.read = lambda: others[-1]
        else:

            def keep(_module, _inputs, output, *, model=self):
                model.kept["x"] = output

            def read():
                return self.kept["x"]

            self.body.register_forward_hook(keep)
            self.read = read

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.body(x)
        return self.fc(self.read().clamp(min=0.1) ** self.power)


@pytest.mark.parametrize("kind", ["attribute", "captured", "keyword"])
def test_functions_of_a_copy_refer_to_the_copy(kind):
    model, images = Hooked(kind), torch.randn(2, 3, 8, 8)
    wanted = model(images)
    copied = copy_model(model)
    assert torch.equal(copied(images), wanted)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert not copied(images).any()
    assert torch.equal(model(images), wanted)
    copied(images).sum().backward()
    assert model.power.grad is None and copied.fc.bias.grad is not None


def test_what_has_nothing_to_do_with_the_weights_is_shared():
    model, table = own_models.Small(), {"a": 1}
    model.lock, model.library = threading.RLock(), torch.nn.functional
    model.log = io.StringIO()
    model.name = lambda: table
    model.end = max
    copied = copy_model(model)
    assert copied.name is model.name and copied.end is max
    assert copied.lock is model.lock and copied.library is model.library
    assert copied.log is model.log


LOSSES = """
import torch
from torch import nn

class Aux(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.center = nn.Parameter(torch.ones(2))

    def forward(self, x):
        out = self.fc(x)
        self.aux = out.square().mean()
        return out

def make():
    m = Aux()
    return m, lambda out, labels: m.aux + (out - m.center).square().mean()

m = Aux()
loss = lambda out, labels: m.aux + sum((row - m.center).square().mean() for row in out)
"""


class Holder(nn.Module):
    """A loss around a function, as `make_loss` makes it."""

    def __init__(self, criterion):
        super().__init__()
        self.criterion = criterion

    def forward(self, out, labels):
        return self.criterion(out, labels)


@pytest.mark.parametrize("place", ["closure", "script"])
@pytest.mark.parametrize("held", [False, True])
def test_a_loss_that_looks_at_the_model_looks_at_its_copy(place, held):
    script: dict = {}
    exec(LOSSES, script)
    model, loss = script["make"]() if place == "closure" else (script["m"], script["loss"])
    images = torch.ones(3, 2)
    model(images)
    given = Holder(loss) if held else loss
    copied, again = deep_copy((model, given), model)
    for _ in range(2):  # a graph that is not its own can't be used twice
        again(copied(images), None).backward()
    assert model.center.grad is None
    assert copied.center.grad is not None
    assert script["m"].fc.weight.grad is None


def test_what_a_copied_hook_counts_is_its_own():
    count, seen = [0], []

    def hook(gradient: torch.Tensor) -> None:
        count[0] += 1
        seen.append(1)

    copied = copy_hook(hook)
    copied(torch.ones(1))
    assert (count, seen) == ([0], [])
    hook(torch.ones(1))
    assert (count, seen) == ([1], [1])
    assert copy_hook(print) is print


def test_a_loss_beside_the_model_counts_for_itself_in_a_copy():
    count = [0]

    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.criterion = lambda: count.append(1)

    model = nn.Linear(2, 2)
    _, copied = deep_copy((model, Loss()), model)
    copied.criterion()
    assert count == [0]


class Around(torch.optim.Optimizer):
    """An optimizer around another, as many write it: without super().__init__()."""

    def __init__(self, base):
        self.base, self.steps = base, 0
        self.param_groups, self.state, self.defaults = base.param_groups, base.state, base.defaults

    def step(self, closure=None):
        self.steps += 1
        return self.base.step(closure)


class Within(Around):
    """The same, whose step is inherited."""


@pytest.mark.parametrize("kind", [Around, Within])
def test_a_copied_optimizer_around_another_has_its_own_and_the_original_steps_on(kind):
    model = nn.Linear(2, 2)
    optimizer = kind(torch.optim.SGD(model.parameters(), lr=1.0))
    before = model.weight.clone()
    copied_model, copied = deep_copy((model, optimizer), model)
    copied_model(torch.ones(1, 2)).sum().backward()
    copied.step()
    assert torch.equal(model.weight, before)
    assert not torch.equal(copied_model.weight, before)
    assert (copied.steps, optimizer.steps) == (1, 0)
    assert copied.base.param_groups is copied.param_groups
    kind(optimizer.base).step()  # torch wraps the step of the class when an optimizer is copied
