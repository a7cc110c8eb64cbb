"""What models and losses keep for themselves: found, stored, put back, left alone."""

import json
import random

import numpy as np
import pytest
import torch
from torch import nn

from torchloupe.errors import CheckpointError
from torchloupe.run.own_state import OwnState, left_alone, look, seed_shared


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
