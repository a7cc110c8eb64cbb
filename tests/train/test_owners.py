"""A model that is trained twice: each run predicts with its own weights, and the second says so."""

import gc

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from torchloupe.run.events import read_events
from torchloupe.train.start import fit
from torchloupe.trained.run import open_run

SETTINGS = {
    "hardware.threads": 1,
    "hardware.precision": "fp32",
    "train.report": False,
    "train.batch_total": 16,
    "optimizer.name": "sgd",
    "optimizer.lr": 0.1,
}
DRAW = torch.Generator().manual_seed(0)
DATA = TensorDataset(torch.randn(48, 1, 6, 6, generator=DRAW), torch.arange(48) % 3)
pytestmark = pytest.mark.usefixtures("own_cache")


def make_model():
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3))


def train(out, model):
    return fit(DATA, model=model, epochs=1, out=out, settings=SETTINGS)


def answers(run):
    return run.model(DATA.tensors[0]).detach()


def notes(run):
    return [event["note"] for event in read_events(run.folder) if "note" in event]


def test_a_model_trained_twice_is_noted_and_the_first_run_keeps_its_weights(tmp_path):
    model = make_model()
    first = train(tmp_path / "first", model)
    assert first.model is model
    wanted = answers(first)
    second = train(tmp_path / "second", model)
    assert second.model is model
    assert (answers(first) == wanted).all()
    assert not (answers(second) == wanted).all()
    found = [note for note in notes(second) if "was trained before" in note]
    assert found == [
        f"the model was trained before, by {tmp_path / 'first'}: training goes on from those "
        "weights, of which that run keeps a copy"
    ]
    assert not any("was trained before" in note for note in notes(first))
    again = open_run(first.folder, model=make_model())
    assert (answers(again) == wanted).all()


def test_a_model_that_got_other_weights_since_begins_anew(tmp_path):
    model = make_model()
    first = train(tmp_path / "first", model)
    model.load_state_dict(make_model().state_dict())
    second = train(tmp_path / "second", model)
    assert not any("was trained before" in note for note in notes(second))
    assert first.model is second.model


def test_a_run_that_is_gone_needs_no_copy(tmp_path):
    model = make_model()
    train(tmp_path / "first", model)
    gc.collect()
    assert any("was trained before" in note for note in notes(train(tmp_path / "second", model)))
