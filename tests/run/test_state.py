"""State: what a checkpoint holds is taken up whole, or refused with a list of what is wrong."""

import copy
import json

import pytest
import torch

from torchloupe.errors import CheckpointError
from torchloupe.hardware.precision import Precision
from torchloupe.run import checkpoint
from torchloupe.run.state import State
from torchloupe.run.weights import checksum_weights, load_weights


def make_state(step=7):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return State(model, optimizer, Precision("fp32", torch.device("cpu")), step=step)


def trees_of(state):
    return copy.deepcopy(state.trees())


def test_state_becomes_what_another_was():
    state, other = make_state(7), make_state(0)
    other.load(trees_of(state))
    assert other.step == 7
    for part in ("model", "optimizer", "state"):
        assert checkpoint.hash_tensors(other.trees()[part]) == checkpoint.hash_tensors(
            state.trees()[part]
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda trees: trees["state"].update(cursor=3), "state.cursor is unknown"),
        (lambda trees: trees["state"].pop("best_step"), "state.best_step is missing"),
        (lambda trees: trees["state"].update(step="7"), "state.step is 7"),
        (lambda trees: trees["state"].update(step=True), "state.step is True"),
        (lambda trees: trees["state"]["window"].update(x=1), "state.window.x is unknown"),
        (lambda trees: trees.update(scaler={}), "scaler is unknown"),
        (lambda trees: trees.pop("optimizer"), "optimizer is missing"),
        (lambda trees: trees.update(state=[]), r"state is \[\]"),
    ],
)
def test_state_of_another_version_is_refused_and_nothing_changed(change, said):
    trees, state = trees_of(make_state(7)), make_state(0)
    weights = state.model.weight.detach().clone()
    change(trees)
    with pytest.raises(CheckpointError, match=f"not one of this version: {said}") as caught:
        state.load(trees)
    assert caught.value.exit_code == 4
    assert state.step == 0
    assert torch.equal(state.model.weight, weights)


def test_state_lists_all_that_is_different():
    trees = trees_of(make_state())
    del trees["state"]["step"], trees["state"]["seconds"]
    trees["state"]["cursor"] = 1
    with pytest.raises(CheckpointError) as caught:
        make_state().load(trees)
    assert caught.value.message.endswith(
        "state.step is missing; state.seconds is missing; state.cursor is unknown"
    )


def test_state_of_before_a_field_was_added_is_taken_up():
    trees, state = trees_of(make_state(7)), make_state(0)
    del trees["state"]["images_at_once"]
    state.load(trees)
    assert state.step == 7


def test_state_that_does_not_fit_is_refused():
    trees = trees_of(make_state())
    trees["optimizer"]["param_groups"][0].pop("params")
    with pytest.raises(CheckpointError, match="doesn't fit this run's"):
        make_state().load(trees)
    trees = trees_of(make_state())
    trees["model"]["weight"] = "text"
    with pytest.raises(CheckpointError, match="no weights under weight"):
        make_state().load(trees)


@pytest.mark.parametrize("version", [0, 3, "\x1b[31m"])
def test_checkpoint_of_another_format_is_refused_by_its_number(tmp_path, version):
    path = checkpoint.write_checkpoint(tmp_path, 7, make_state().trees())
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "format": version}))
    with pytest.raises(CheckpointError) as caught:
        checkpoint.read_checkpoint(path)
    assert "has checkpoint format" in caught.value.message
    assert "this version reads 1" in caught.value.message
    assert "\x1b" not in caught.value.message


def test_checksum_changes_with_every_bit_of_every_number():
    kinds = (torch.float32, torch.float64, torch.bfloat16, torch.int8, torch.bool, torch.complex64)
    module = torch.nn.Module()
    for kind in kinds:
        for size in (1, 7, 8):
            flat = torch.arange(size + 3).to(kind)[3:]  # which need not begin at a whole word
            module.register_buffer(f"x{len(module._buffers)}", flat)
    module.register_buffer("empty", torch.zeros(0))
    module.register_buffer("turned", torch.arange(6.0).reshape(2, 3).T)
    whole = checksum_weights(module)
    assert checksum_weights(copy.deepcopy(module)) == whole
    for buffer in module.buffers():
        for place in range(buffer.numel()):
            before = buffer.flatten()[place].clone()
            index = tuple(int(i) for i in torch.unravel_index(torch.tensor(place), buffer.shape))
            buffer[index] = ~before if buffer.dtype == torch.bool else before + 1
            assert checksum_weights(module) != whole
            buffer[index] = before
    assert checksum_weights(module) == whole
    assert checksum_weights(torch.nn.Identity()) == "0" * 16


def test_checksum_has_golden_values():
    """They are in the logs of runs, which later versions compare."""
    model = torch.nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.copy_(torch.arange(6.0).reshape(2, 3))
        model.bias.copy_(torch.tensor([-1.0, 0.5]))
    assert checksum_weights(model) == "7d600002bf000000"


class Versioned(torch.nn.Linear):
    """A layer that can't be loaded without the version it was saved with, as MNASNet can't."""

    _version = 2

    def _load_from_state_dict(self, state_dict, prefix, metadata, *arguments):
        if metadata.get("version") != 2:
            raise ValueError("version should be 2")
        super()._load_from_state_dict(state_dict, prefix, metadata, *arguments)


def test_weights_are_loaded_with_the_versions_of_their_layers():
    source, model = (torch.nn.Sequential(Versioned(2, 2)) for _ in range(2))
    load_weights(model, dict(source.state_dict()))
    assert checksum_weights(model) == checksum_weights(source)
