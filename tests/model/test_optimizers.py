"""Optimizers: every one by name, who is decayed, what is refused."""

import functools

import pytest
import torch
from torch import nn

from torchloupe.errors import UsageError
from torchloupe.model.optimizers import OPTIMIZERS, make_average, make_optimizer
from torchloupe.model.zoo import CNN, Net, ResidualNet

SPECIAL = {"lbfgs", "sparseadam"}


def take_step(model, optimizer, images=None):
    loss = model(torch.rand(4, 1, 8, 8) if images is None else images).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - SPECIAL))
def test_optimizer_by_name_moves_the_weights(name):
    model = Net(1, 3)
    before = model.conv.weight.clone()
    optimizer = make_optimizer(name.upper(), model)
    assert type(optimizer).__name__.lower() == name
    take_step(model, optimizer)
    assert not torch.equal(model.conv.weight, before)


def test_optimizer_names_cover_torch_optim():
    assert {"adam", "adamw", "sgd", "rmsprop", "muon", "adafactor", "nadam"} <= set(OPTIMIZERS)


def test_optimizer_keeps_its_own_defaults_when_nothing_is_set():
    model = Net(1, 3)
    for name, kind in (("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        group = make_optimizer(name, model).param_groups[0]
        own = kind(model.parameters()).param_groups[0]
        assert {key: value for key, value in group.items() if key in own and key != "params"} == {
            key: value for key, value in own.items() if key != "params"
        }
        assert group["initial_lr"] == own["lr"]


def test_optimizer_decays_only_weights():
    model = ResidualNet(1, 3)
    optimizer = make_optimizer("sgd", model, lr=0.1, weight_decay=0.5)
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    for name, parameter in model.named_parameters():
        assert decays[id(parameter)] == (0.5 if parameter.ndim >= 2 else 0.0), name
    assert {parameter.ndim for parameter in optimizer.param_groups[1]["params"]} == {1}


def test_optimizer_default_decay_spares_biases_too():
    groups = make_optimizer("adamw", Net(1, 3)).param_groups
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0]


def test_optimizer_decay_of_zero_is_zero():
    groups = make_optimizer("adamw", Net(1, 3), weight_decay=0.0).param_groups
    assert [group["weight_decay"] for group in groups] == [0.0]


def test_optimizer_gives_the_bits_of_torch():
    torch.manual_seed(0)
    ours, theirs = CNN(), CNN()
    theirs.load_state_dict(ours.state_dict())
    mine = make_optimizer(torch.optim.Adam, ours, lr=1e-3)
    other = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    for _ in range(3):
        images = torch.rand(4, 1, 8, 8)
        take_step(ours, mine, images)
        take_step(theirs, other, images)
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    assert all(torch.equal(mine, other) for mine, other in pairs)


def test_optimizer_leaves_frozen_parameters_out():
    model = Net(1, 3)
    model.conv.requires_grad_(False)
    held = [p for group in make_optimizer("adam", model).param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in model.fc.parameters()}


def test_optimizer_takes_options():
    optimizer = make_optimizer(
        "sgd", Net(1, 3), lr=0.1, options={"momentum": 0.9, "nesterov": True}
    )
    assert optimizer.param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize(
    "factory",
    [
        torch.optim.SGD,
        functools.partial(torch.optim.SGD, momentum=0.9),
        lambda parameters, lr, weight_decay: torch.optim.SGD(parameters, lr=lr),
        "torch.optim:SGD",
    ],
)
def test_optimizer_from_a_class_or_function(factory):
    optimizer = make_optimizer(factory, Net(1, 3), lr=0.25, weight_decay=0.125)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.125, 0.0]


def test_optimizer_from_a_function_that_only_takes_parameters():
    optimizer = make_optimizer(lambda parameters: torch.optim.SGD(parameters, lr=0.5), Net(1, 3))
    assert optimizer.param_groups[0]["initial_lr"] == 0.5


def test_optimizer_from_a_file(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\n\n"
        "class Slow(torch.optim.SGD):\n"
        "    def __init__(self, parameters, lr=0.125):\n"
        "        super().__init__(parameters, lr=lr)\n"
    )
    optimizer = make_optimizer(f"{tmp_path}/mine.py:Slow", Net(1, 3))
    assert type(optimizer).__name__ == "Slow"
    assert optimizer.param_groups[0]["initial_lr"] == 0.125


def test_optimizer_already_made_is_taken():
    model = Net(1, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.5)
    assert make_optimizer(optimizer, model) is optimizer
    assert optimizer.param_groups[0]["initial_lr"] == 0.5


def error_of(*arguments, **keywords):
    with pytest.raises(UsageError) as caught:
        make_optimizer(*arguments, **keywords)
    return f"{caught.value.message} | {caught.value.hint}"


def test_optimizer_error_texts():
    model = Net(1, 3)
    assert error_of("adm", model) == (
        "there is no optimizer 'adm' | did you mean 'adam' or 'radam' or 'nadam'? "
        "(your own: file.py:Name)"
    )
    assert error_of("sgd", model, options={"momentun": 0.9}) == (
        "SGD has no option momentun | did you mean 'momentum'?"
    )
    assert error_of("sgd", model, options={"lr": 0.9}) == (
        "optimizer.options.lr has a setting of its own | set optimizer.lr instead"
    )
    assert error_of("rprop", model, weight_decay=0.1) == (
        "Rprop takes no weight_decay | leave optimizer.weight_decay out"
    )
    assert error_of("adam", model, options={"betas": [2, 3]}).startswith(
        "Adam can't be made: Invalid beta parameter at index 0: 2 | Adam takes lr, betas, eps"
    )
    assert error_of("lbfgs", model) == (
        "LBFGS evaluates the loss several times per step through a closure, which a training "
        "step on mini-batches does not have | use adam or sgd, or call it in a loop of your own"
    )
    assert error_of("sparseadam", model) == (
        "SparseAdam takes sparse gradients only, but image models have dense ones | use adam"
    )
    assert error_of(torch.optim.Muon, model) == (
        "Muon takes parameters of two dimensions only; 3 of 4 here have another shape "
        "(convolution filters, biases, norms) | use muon by name, which takes them all: "
        "optimizer='muon'"
    )
    assert error_of(lambda parameters: "no", model) == (
        "<lambda> gave a str, not a torch.optim.Optimizer | return the optimizer from it, for "
        "example torch.optim.SGD(parameters, lr=0.1)"
    )
    assert error_of(3, model).startswith("the optimizer is a int, not a class or function")
    stranger = torch.optim.Adam(Net(1, 3).parameters())
    assert error_of(stranger, model).startswith("the optimizer holds 4 parameters that the model")
    assert error_of(torch.optim.Adam(model.parameters()), model, lr=0.1).startswith(
        "optimizer.lr can't be applied to an optimizer that is already made"
    )


def test_optimizer_refuses_a_model_with_nothing_to_train():
    frozen = Net(1, 3).requires_grad_(False)
    assert error_of("adam", frozen).startswith(
        "the model has nothing to train: 4 parameters, all frozen"
    )
    assert error_of("adam", nn.ReLU()).startswith("the model has no parameters to train")
    assert error_of("adam", nn.LazyLinear(3)).startswith("the model has lazy layers")


def test_muon_of_torch_takes_a_model_of_matrices():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16, bias=False), nn.Linear(16, 3, bias=False))
    before = model[1].weight.clone()
    take_step(model, make_optimizer(torch.optim.Muon, model))
    assert not torch.equal(model[1].weight, before)


def test_average_follows_weights_and_buffers():
    model = ResidualNet(1, 3, width=4)
    average = make_average(model, 0.5)
    average.update_parameters(model)
    first = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        for value in model.state_dict().values():
            value.add_(2)
    average.update_parameters(model)
    for name, value in average.module.state_dict().items():
        assert torch.allclose(value.float(), first[name].float() + 1), name
    assert average.n_averaged == 2


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0])
def test_average_refuses_a_decay_that_averages_nothing(decay):
    with pytest.raises(UsageError, match="must be between 0 and 1"):
        make_average(Net(1, 3), decay)


def test_an_optimizer_that_does_not_call_its_base_is_refused_at_once():
    class Around(torch.optim.Optimizer):
        def __init__(self, base):
            self.base, self.param_groups, self.state = base, base.param_groups, base.state

    text = error_of(lambda parameters: Around(torch.optim.SGD(parameters, lr=0.1)), Net(1, 3))
    assert text.startswith("Around.__init__ doesn't call that of torch.optim.Optimizer")


def test_an_optimizer_with_modes_of_its_own_is_refused():
    class ScheduleFree(torch.optim.SGD):
        def train(self):
            """Nothing to do."""

        eval = train

    model = Net(1, 3)
    for given in (ScheduleFree, ScheduleFree(model.parameters(), lr=0.1)):
        assert "its train() and eval() are not called" in error_of(given, model)
