"""What models and losses keep for themselves: found, stored, put back, left alone."""

import itertools
import json
import random

import numpy as np
import pytest
import torch
from torch import nn

from torchloupe.errors import CheckpointError
from torchloupe.run.own_state import OwnState, left_alone, look
from torchloupe.system.seeding import seed_shared


class Counting(nn.Module):
    """Counts its forwards in several ways."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.n, self.seen = 0, [1]
        self.rng = np.random.default_rng(0)
        self.register_buffer("t", torch.zeros(()), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.n += 1
        self.seen.append(self.n)
        self.t += 1
        self.last = x.detach().sum()
        return self.fc(x) * self.rng.random()


class Warming(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("t", torch.zeros(()))

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        self.t += 1
        return logits.sum() * self.t


def stored(own: OwnState):
    tree = own.tree()
    return None if tree is None else json.loads(json.dumps(tree))


def test_a_model_that_keeps_nothing_has_no_state_of_its_own():
    own = OwnState(nn.Linear(2, 2), nn.CrossEntropyLoss())
    own.begin(0)
    assert own.tree() is None
    assert own.unsaved() == []


def test_counters_generators_and_buffers_go_on_in_another_model():
    model, loss = Counting(), Warming()
    own = OwnState(model, loss)
    for _ in range(3):
        loss(model(torch.ones(1, 2)))
    tree = stored(own)
    assert set(tree["model"][""]) == {"n", "seen", "rng", "t", "last"}
    other, warm = Counting(), Warming()
    resumed = OwnState(other, warm)
    resumed.load(tree)
    assert (other.n, other.seen, float(other.t), float(warm.t)) == (3, [1, 1, 2, 3], 3, 3)
    assert other.rng.random() == model.rng.random()
    assert resumed.lost == []
    assert set(stored(resumed)["model"][""]) == set(tree["model"][""])


def test_what_a_checkpoint_had_is_kept_where_the_model_that_was_given_has_it_too():
    model = Counting()
    own = OwnState(model)
    model.n = 3
    tree = stored(own)
    trained = Counting()
    trained.n = 3
    again = OwnState(trained)
    again.load(tree)
    assert stored(again) == tree


def test_shared_generators_are_seeded_and_go_on():
    own = OwnState(nn.Linear(2, 2))
    own.begin(7)
    first = random.random(), np.random.rand()
    own.begin(7)
    assert (random.random(), np.random.rand()) == first
    tree = stored(own)
    following = random.random(), np.random.rand()
    resumed = OwnState(nn.Linear(2, 2))
    resumed.load(tree)
    resumed.begin(7)
    assert (random.random(), np.random.rand()) == following
    own.begin(8)
    assert random.random() != first[0]


def test_seed_shared_seeds_both():
    seed_shared(2**40)
    first = random.random(), np.random.rand()
    seed_shared(2**40)
    assert (random.random(), np.random.rand()) == first


def test_a_change_that_can_not_be_stored_is_told_once_by_name():
    model = Counting()
    model.how = open
    own = OwnState(model)
    model.how = print
    model.kept = model.fc(torch.ones(1, 2))  # of the last forward: made again in the next
    (note,) = own.unsaved()
    assert note.startswith("model.how (builtin_function_or_method) changes in training and is not")
    assert own.unsaved() == []
    assert own.tree() is None


def test_what_has_no_place_any_more_is_told():
    own = OwnState(Counting())
    own.load({"model": {"gone": {"n": 1}}})
    assert own.lost == [
        "model.gone.n has no place in the model or loss that was given: it does not go on from "
        "where it was"
    ]


def test_odd_content_is_refused():
    with pytest.raises(CheckpointError, match="can't be read"):
        OwnState(Counting()).load({"model": {"": {"n": {"float": 3}}}})


def test_a_trial_leaves_model_loss_and_hooks_alone():
    model, loss, calls = Counting(), Warming(), []
    model.fc.weight.register_hook(lambda gradient: calls.append(1))
    model.fc.weight.register_post_accumulate_grad_hook(lambda weight: calls.append(2))
    model.fc.register_full_backward_hook(lambda *_: calls.append(3))
    before = look(model, loss)
    images = torch.ones(1, 2, requires_grad=True)
    with left_alone(model, loss):
        loss(model(images)).backward()
        assert model.n == 1
    assert look(model, loss) == before
    assert not hasattr(model, "last")
    assert calls == []
    loss(model(images)).backward()
    assert sorted(calls) == [1, 2, 3]


def test_a_model_that_makes_its_layers_in_a_forward_keeps_them():
    model = nn.Module()
    model.is_made = False
    with left_alone(model):
        model.fc, model.is_made = nn.Linear(2, 2), True
    assert model.is_made


def test_an_object_is_put_back_where_it_was():
    model, first = Counting(), object()
    model.way = first
    with left_alone(model):
        model.way = object()
    assert model.way is first


def test_attributes_of_a_loss_that_is_no_module_are_its_own():
    class Loss:
        n = 0

        def __init__(self) -> None:
            self.n = 0

    loss = Loss()
    own = OwnState(nn.Linear(2, 2), loss)
    loss.n = 4
    assert stored(own) == {"loss": {"": {"n": 4}}}


def test_variables_of_a_loss_made_in_a_function_are_its_own():
    count, seen = 0, []

    def loss() -> None:
        nonlocal count
        count += 1
        seen.append(count)

    own = OwnState(nn.Linear(2, 2), loss)
    with left_alone(nn.Linear(2, 2), loss):
        loss()
    assert (count, seen) == (0, [])
    loss()
    tree = stored(own)
    assert tree == {"loss": {"closure": {"count": 1, "seen": {"list": [1]}}}}
    loss()
    own.load(tree)
    assert (count, seen) == (1, [1])


class Aliasing(nn.Module):
    """A model whose forward puts a weight, a buffer or a list where something else was."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.register_buffer("proto", torch.ones(2))
        self.weight, self.numbers = torch.zeros(2, 2), np.zeros((2, 2))
        self.used, self.wide = torch.zeros(2), torch.zeros(1).expand(2)
        self.fixed = np.zeros(2)
        self.fixed.flags.writeable = False
        self.hist, self.cur, self.held = [3, 4], [0], [torch.zeros(2, 2)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.weight = self.fc.weight.detach()
        self.numbers = self.fc.weight.detach().numpy()
        self.used, self.wide, self.fixed = self.proto, torch.ones(2), np.ones(2)
        self.cur, self.held[0] = self.hist, self.fc.weight.data
        return self.fc(x)


def test_what_takes_the_place_of_an_attribute_is_not_written_to():
    model = Aliasing()
    weight, first = model.fc.weight.detach().clone(), {**vars(model)}
    with left_alone(model):
        model(torch.ones(1, 2))
    assert torch.equal(model.fc.weight, weight)
    assert model.proto.tolist() == [1, 1]
    assert (model.hist, model.cur) == ([3, 4], [0])
    assert model.held[0].tolist() == [[0, 0], [0, 0]]
    for name in ("weight", "numbers", "used", "wide", "fixed", "cur", "hist"):
        assert vars(model)[name] is first[name]
    state = OwnState(model)
    model(torch.ones(1, 2))
    tree = json.loads(json.dumps(state.tree()))
    other = Aliasing()
    other.load_state_dict(model.state_dict())
    other.weight = other.fc.weight.data
    OwnState(other).load(tree)
    assert torch.equal(other.fc.weight, weight)


def test_modules_that_are_no_part_of_the_model_are_noted():
    model = Counting()
    model.parts = [nn.BatchNorm1d(2)]
    state = OwnState(model)
    model.parts[0](torch.rand(3, 2))
    model(torch.ones(1, 2))
    (note,) = state.unsaved()
    assert note.startswith("model.parts (list) changes in training and is not saved")


class Helper:
    """Knows the module that it belongs to."""

    def __init__(self, owner: nn.Module | None) -> None:
        self.owner, self.n = owner, 0


class Helped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.helper, self.layers = Helper(self), [self.fc]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.helper.n += 1
        return self.layers[0](x) * self.helper.n


def test_helpers_that_know_their_module_go_on_with_the_one_that_is_there():
    model, other = Helped(), Helped()
    own = OwnState(model)
    for _ in range(3):
        model(torch.ones(1, 2))
    assert own.unsaved() == []
    resumed = OwnState(other)
    resumed.load(stored(own))
    assert resumed.lost == []
    assert (other.helper.n, other.helper.owner) == (3, other)
    assert other.layers[0] is other.fc


@pytest.mark.parametrize(
    "make",
    [
        itertools.count,
        lambda: itertools.cycle([1, 2, 3]),
        lambda: iter([1, 2, 3, 4]),
        lambda: enumerate([1, 2, 3, 4]),
        lambda: iter({1: 2, 3: 4}),
        lambda: [itertools.count(), 1],
    ],
)
def test_iterators_that_go_on_are_noted(make):
    model = nn.Linear(2, 2)
    model.steps = make()
    own = OwnState(model)
    assert own.unsaved() == []
    next(model.steps[0] if isinstance(model.steps, list) else model.steps)
    (note,) = own.unsaved()
    assert note.startswith("model.steps (")
