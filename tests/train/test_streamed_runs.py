"""Runs on streamed shards: resumed to the last bit, the same from far away, refused if changed."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from web_server import serving

from stopping import StopAt
from torchloupe.data.shards.sharding import plan_shards, write_shards
from torchloupe.data.sources import open_data
from torchloupe.data.split import split_samples
from torchloupe.errors import DataError, Terminated, UsageError
from torchloupe.prepare.measured import RESUME_IMAGES
from torchloupe.prepare.objects import UserObjects
from torchloupe.run import checkpoint
from torchloupe.run.events import read_events
from torchloupe.train.start import continue_run, train

pytestmark = pytest.mark.usefixtures("own_cache")

SETTINGS = {
    "model.name": "cnn",
    "data.lanes": 2,
    "data.mixed_shards": 2,
    "train.epochs": 2,
    "train.batch_total": 32,
    "train.log_every_steps": 1,
    "train.save_every_steps": 1,
    "train.report": False,
    "train.strategy": "scratch",
    "augment.mixup": 0.2,
    "hardware.precision": "fp32",
    "hardware.channels_last": False,
    "hardware.compile": False,
    "hardware.threads": 1,
    "check.level": "off",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    pixels = np.random.default_rng(0).integers(0, 255, (400, 8, 8, 3), dtype=np.uint8)
    data = open_data((pixels, np.arange(400) % 3))
    write_shards(data, plan_shards(data, split_samples(data.samples), 40_000, seed=0), folder)
    return folder


@pytest.fixture(scope="module")
def near(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("near") / "run"
    train(folder, {**SETTINGS, "data.pack": "stream"}, out=out)
    return out


def facts(run):
    _, path, _ = checkpoint.read_newest(run / "checkpoints")
    names = ("model.safetensors", "optimizer.safetensors")
    sums = [hashlib.sha256((path / name).read_bytes()).hexdigest() for name in names]
    events = [
        {key: event[key] for key in ("step", "train_loss", "val_loss", "weights") if key in event}
        for event in read_events(run)
    ]
    return path.name, sums, [event for event in events if "step" in event and len(event) > 1]


def test_a_run_on_far_shards_is_stopped_twice_in_an_epoch_and_bit_equal(near, folder, tmp_path):
    with serving(folder, delay=0.002, failing=0.02) as server:
        with pytest.raises(Terminated):
            train(f"{server.url}/", SETTINGS, out=tmp_path / "far", listeners=[StopAt(3)])
        with pytest.raises(Terminated):
            continue_run(tmp_path / "far", {}, listeners=[StopAt(7)])
        run = continue_run(tmp_path / "far", {})
    assert facts(tmp_path / "far") == facts(near)
    assert run.metrics["test"]["count"] == 60


class Looks:
    """A listener that notes what a server was asked before the first step of a run."""

    def __init__(self, server):
        self.server, self.asked = server, None

    def start(self, facts):
        """All is ready for the first batch."""
        self.asked = list(self.server.asked)

    def record(self, event):
        """Nothing is noted."""

    def close(self):
        """Nothing is held."""


def test_a_resume_asks_for_the_index_once_and_for_a_few_images(folder, tmp_path):
    with serving(folder) as server, pytest.raises(Terminated):
        train(f"{server.url}/", SETTINGS, out=tmp_path / "run", listeners=[StopAt(2)])
    with serving(folder) as server:  # at another address, so that nothing of it is kept here
        looks, moved = Looks(server), UserObjects(f"{server.url}/")
        with pytest.raises(Terminated):
            continue_run(tmp_path / "run", {}, moved, listeners=[looks, StopAt(3)])
    index = [kind for kind, path in looks.asked if path == "/index.safetensors"]
    images = [path for _, path in looks.asked if path.endswith(".tar")]
    assert index == ["HEAD", "GET"]
    assert len(images) <= RESUME_IMAGES  # to try the model; the contract has all else
    assert len(looks.asked) == len(index) + len(images)


def test_a_resume_refuses_another_order(near, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(near, copy, symlinks=True)
    for name, value in (("data.lanes", 4), ("data.mixed_shards", 1), ("data.pack", "disk")):
        with pytest.raises(UsageError, match=f"a started run can't change {name}"):
            continue_run(copy, {name: value})


def test_a_resume_refuses_a_run_of_a_version_with_another_order(near, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(near, copy, symlinks=True)
    environment = json.loads((copy / "environment.json").read_text())
    environment["data"].pop("order")  # as the first version left it
    (copy / "environment.json").write_text(json.dumps(environment))
    with pytest.raises(UsageError, match="visits its shards in order 1, and this version"):
        continue_run(copy, {"train.epochs": 3})


def test_a_resume_names_a_shard_that_changed_or_is_gone(folder, tmp_path):
    copy = tmp_path / "shards"
    shutil.copytree(folder, copy)
    settings = {**SETTINGS, "data.pack": "stream", "train.epochs": 30}
    with pytest.raises(Terminated):
        train(copy, settings, out=tmp_path / "run", listeners=[StopAt(2)])
    path = copy / "train-000001.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[:700] + bytes([whole[700] ^ 1]) + whole[701:])
    with pytest.raises(DataError, match=r"train-000001\.tar changed since its index was written"):
        continue_run(tmp_path / "run", {})
    path.unlink()
    with pytest.raises(DataError, match="train-000001"):
        continue_run(tmp_path / "run", {})
