"""Runs that begin from a pretrained backbone, from end to end."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
from safetensors.torch import load_file

from drawings import draw, draw_folder
from torchloupe.errors import DataError, Terminated, UsageError
from torchloupe.run import checkpoint
from torchloupe.run.events import read_events
from torchloupe.train.start import resume, train
from torchloupe.trained.run import open_run

pytestmark = pytest.mark.usefixtures("own_cache")

QUICK = {"data.size": "72", "train.strategy": "head"}
LONGER = {
    **QUICK,
    "train.strategy": "finetune",
    "train.epochs": 2,
    "train.batch_total": 8,
    "train.log_every_steps": 1,
    "train.average": 0.9,
}


class StopAt:
    """Sends this process SIGTERM at a step, or ends it in a phase."""

    def __init__(self, step=None, phase=None):
        self.step, self.phase = step, phase

    def start(self, facts):
        pass

    def record(self, event):
        if self.phase and event.get("phase") == self.phase:
            raise Terminated("ended by the test", "go on")
        if self.step is not None and "train_loss" in event and event["step"] >= self.step:
            self.step = None
            os.kill(os.getpid(), signal.SIGTERM)

    def close(self):
        pass


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    return draw_folder(folder / "drawings", {"disc": 16, "cross": 16, "ring": 16})


@pytest.fixture(scope="module")
def head(photos, tmp_path_factory):
    """A run of the head alone."""
    return train(photos, QUICK, out=tmp_path_factory.mktemp("head") / "run")


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    """A run of head and finetuning that nobody stopped."""
    return train(photos, LONGER, out=tmp_path_factory.mktemp("whole") / "run")


def facts(run):
    trees, path, _ = checkpoint.read_newest(run / "checkpoints")
    events = [
        {key: event[key] for key in ("step", "train_loss", "val_loss", "weights") if key in event}
        for event in read_events(run)
        if "step" in event
    ]
    parts = ("model", "optimizer", "average")
    return path.name, {name: checkpoint.hash_tensors(trees[name]) for name in parts}, events


def test_head_learns_drawings_and_is_judged_before_any_step(head):
    assert head.metrics["test"]["accuracy"] > 0.6
    assert head.metrics["train"]["steps"] == 0
    stages = [event for event in read_events(head.folder) if "stage" in event]
    assert [event["stage"] for event in stages] == ["head"]
    assert [event["step"] for event in read_events(head.folder) if "val_accuracy" in event] == [0]


def test_contract_is_that_of_the_backbone(head):
    contract = json.loads((head.folder / "contract.json").read_text())
    assert contract["mean"] == contract["std"] == [0.5, 0.5, 0.5]
    assert (contract["kernel"], contract["fit"]) == ("bicubic", "stretch")  # all of one size
    assert contract["size"] == [72, 72]


def test_settings_say_where_each_came_from(head):
    found = json.loads((head.folder / "config.json").read_text())
    flat = json.dumps(found)
    assert "timm:tf_efficientnet_lite0" in flat
    assert head.config.train.strategy == "head"
    assert head.config.model.options == {"views": 2, "inner": True}


def test_run_is_opened_and_predicts_as_any_other(head, tmp_path):
    path = tmp_path / "new.png"
    draw("ring", 5).save(path)
    run = open_run(head.folder)
    assert bool((run.model.low < run.model.high).all()) and float(run.model.high.max()) < 2
    prediction = run.predict(path)
    assert prediction.label in {"disc", "cross", "ring"}
    assert prediction.confidence == pytest.approx(head.predict(path).confidence, abs=1e-6)


def test_finetuning_starts_from_the_head_and_keeps_the_best(whole, head):
    events = [e for e in read_events(whole.folder) if "val_accuracy" in e]
    assert [event["step"] for event in events] == [0, 5, 10]
    best = max(event["val_accuracy"] for event in events)
    assert whole.metrics["val"]["accuracy"] == pytest.approx(best)
    assert whole.metrics["val"]["accuracy"] >= head.metrics["val"]["accuracy"]


@pytest.mark.parametrize(
    "stop",
    [{"phase": "features"}, {"step": 7}, pytest.param({"step": 1}, marks=pytest.mark.slow)],
)
def test_resumed_run_is_bit_equal_to_an_uninterrupted_one(
    photos, whole, tmp_path, stop, monkeypatch
):
    if "phase" in stop:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # so that there is a phase
    with pytest.raises(Terminated):
        train(photos, LONGER, out=tmp_path / "run", listeners=[StopAt(**stop)])
    resume(tmp_path / "run")
    assert facts(tmp_path / "run") == facts(whole.folder)


def test_finished_head_goes_on_into_finetuning(photos, head, tmp_path):
    shutil.copytree(head.folder, tmp_path / "run", symlinks=True)
    typed = {"train.strategy": "finetune", "train.epochs": 1}
    done = resume(tmp_path / "run", settings=typed)
    assert done.metrics["train"]["steps"] > 0


def test_head_with_epochs_is_refused(photos, tmp_path):
    with pytest.raises(UsageError, match="trains no epochs, but 3 were given"):
        train(photos, {**QUICK, "train.epochs": 3}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_that_are_not_there_are_refused_before_a_folder_is_made(photos, tmp_path):
    with pytest.raises(UsageError, match="there is no weights file"):
        train(photos, {**QUICK, "model.weights": "none.pth"}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_of_a_run_serve_the_next_one(photos, whole, tmp_path):
    file = whole.folder / "best" / "model.safetensors"
    run = train(photos, {**QUICK, "model.weights": str(file)}, out=tmp_path / "run")
    own, given = run.model.state_dict(), load_file(file)
    assert all(bool((own[name] == given[name]).all()) for name in own if "body" in name)
    assert any("best/model.safetensors" in e.get("note", "") for e in read_events(run.folder))


@pytest.mark.parametrize("counts", [{"disc": 10, "ring": 10}, {"disc": 9, "ring": 1}])
def test_few_images_are_enough(tmp_path, counts):
    folder = draw_folder(tmp_path / "few", counts)
    run = train(folder, QUICK, out=tmp_path / "run")
    assert run.metrics["val"]["count"] + run.metrics["test"]["count"] > 0
    assert set(run.class_names) == set(counts)


def test_one_class_of_one_image_is_refused_by_name(tmp_path):
    folder = draw_folder(tmp_path / "one", {"disc": 1})
    with pytest.raises(DataError, match="only one class: 'disc'"):
        train(folder, QUICK, out=tmp_path / "run")


@pytest.mark.parametrize("classes", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_many_classes_with_two_images_each(tmp_path, classes):
    each = 2
    images = np.random.default_rng(0).integers(0, 255, (classes * each, 40, 40, 3), np.uint8)
    labels = np.arange(classes * each) % classes
    np.savez(tmp_path / "many.npz", images=images, labels=labels)
    typed = {"data.size": "40", "train.strategy": "head"}
    run = train(tmp_path / "many.npz", typed, out=tmp_path / "run")
    assert len(run.class_names) == classes
    assert run.metrics["train"]["steps"] == 0
