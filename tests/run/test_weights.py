"""Weights as a state dict: versions, extra states, lazy layers, and what has overflowed."""

import pytest
import torch
from torch import nn

import own_models
from torchloupe.errors import UsageError
from torchloupe.hardware.precision import Precision
from torchloupe.model.optimizers import make_average
from torchloupe.run import checkpoint
from torchloupe.run.state import State, evaluated_weights
from torchloupe.run.weights import (
    checksum_weights,
    find_overflow,
    infinite_from_the_start,
    load_weights,
    refuse_extra_state,
    versions_of,
)


def make_state(model: nn.Module, *, averaged: bool = False) -> State:
    """A run of `model` before its first step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    average = make_average(model, 0.5) if averaged else None
    return State(model, optimizer, Precision("fp32", torch.device("cpu")), average=average)


def write_and_read(state: State, folder):
    return checkpoint.read_checkpoint(checkpoint.write_checkpoint(folder, 1, state.trees()))


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize(
    "kind", [own_models.ExtraState, own_models.Versioned, own_models.Masked, own_models.Complex]
)
def test_checkpoint_gives_back_all_of_a_state_dict(tmp_path, kind, averaged):
    state, other = make_state(kind(), averaged=averaged), make_state(kind(), averaged=averaged)
    state.update_average()
    trees = write_and_read(state, tmp_path)
    other.load(trees)
    assert checksum_weights(other.model) == checksum_weights(state.model)
    fresh = kind()
    load_weights(fresh, evaluated_weights(trees))
    assert checksum_weights(fresh) == checksum_weights(state.model)


def test_extra_state_comes_back_as_it_was(tmp_path):
    state = make_state(own_models.ExtraState({"seen": [1, 2.5, "x", None], "t": torch.ones(2)}))
    other = own_models.ExtraState({})
    load_weights(other, evaluated_weights(write_and_read(state, tmp_path)))
    assert other.state["seen"] == [1, 2.5, "x", None]
    assert torch.equal(other.state["t"], torch.ones(2))


@pytest.mark.parametrize(
    ("state", "kind"),
    [((1, 2), "tuple"), ({"a": {1}}, "set"), ({1: 2}, "dict by int"), (b"x", "bytes")],
)
def test_extra_state_that_a_checkpoint_would_change_is_refused(state, kind):
    with pytest.raises(UsageError) as caught:
        refuse_extra_state(nn.Sequential(own_models.ExtraState(state)))
    assert caught.value.message == (
        f"0 gives a {kind} from get_extra_state, which a checkpoint can't hold"
    )


def test_versions_that_are_not_1_are_kept():
    versions = versions_of(nn.Sequential(own_models.Versioned(), nn.ReLU()).state_dict())
    assert versions == {"0": 2, "0.body.1": 2}


def test_checkpoint_without_versions_loads_with_those_of_the_model(tmp_path):
    trees = write_and_read(make_state(own_models.Versioned()), tmp_path)
    del trees["state"]["versions"]
    load_weights(own_models.Versioned(), evaluated_weights(trees))
    make_state(own_models.Versioned()).load(trees)
    assert trees["state"].get("versions") is None


def test_weights_load_into_lazy_layers():
    images, model, other = torch.randn(2, 3, 8, 8), own_models.Lazy(), own_models.Lazy()
    model(images)
    load_weights(other, model.state_dict())
    assert torch.equal(model.eval()(images), other.eval()(images))


def test_find_overflow_counts_only_what_was_finite_at_the_start():
    model = own_models.Masked()
    infinite = infinite_from_the_start(model)
    assert sorted(infinite) == ["mask", "none"]
    assert find_overflow(model, infinite) == ""
    model.mask[2, 0] = float("inf")
    assert find_overflow(model, infinite) == "mask"
    model.mask[2, 0] = 0
    model.fc.weight.data[0, 0] = float("nan")
    assert find_overflow(model, infinite) == "fc.weight"


def test_average_of_infinite_buffers_stays_what_it_is():
    state = make_state(own_models.Masked(), averaged=True)
    for _ in range(3):
        state.update_average()
    assert torch.equal(state.evaluated_model.mask, state.model.mask)


def test_sparse_buffers_are_refused_by_name_unless_they_are_not_kept():
    for kept in (True, False):
        model = nn.Linear(2, 2)
        model.register_buffer("graph", torch.eye(3).to_sparse(), persistent=kept)
        assert infinite_from_the_start(model) == {}
        assert find_overflow(model, {}) == ""
        if not kept:
            refuse_extra_state(model)
            continue
        with pytest.raises(UsageError, match="graph is a sparse or nested tensor") as caught:
            refuse_extra_state(model)
        assert "persistent=False" in caught.value.hint
