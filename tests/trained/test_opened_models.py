"""Tests of what an opened run keeps where its model is trained."""

import torch

import torchloupe as loupe
from torchloupe.trained.opened_models import run_of


def test_a_run_whose_model_is_trained_keeps_a_copy(tmp_path):
    images, labels = torch.rand(40, 1, 8, 8), torch.arange(40) % 2
    settings = {"optimizer.lr": 0.1}
    loupe.fit((images, labels), model="net", epochs=1, out=tmp_path / "a", settings=settings)
    run = loupe.open_run(tmp_path / "a")
    assert run_of(run.model) is run
    before = [p.detach().clone() for p in run.model.parameters()]
    again = loupe.fit(
        (images, labels), model=run.model, epochs=2, out=tmp_path / "b", settings=settings
    )
    assert all(map(torch.equal, before, run.model.parameters()))
    assert not all(map(torch.equal, before, again.model.parameters()))
    assert run_of(again.model) is None
    notes = (tmp_path / "b" / "events.jsonl").read_text()
    assert "training goes on from its weights, of which that run keeps a copy" in notes
