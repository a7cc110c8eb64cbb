"""Runs on streamed shards: resumed to the last bit, the same from far away, refused if changed."""

import hashlib
import shutil

import numpy as np
import pytest
from web_server import serving

from stopping import StopAt
from torchloupe.data.shards.sharding import plan_shards, write_shards
from torchloupe.data.sources import open_data
from torchloupe.data.split import split_samples
from torchloupe.errors import DataError, Terminated, UsageError
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


def test_a_resume_refuses_another_order(near, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(near, copy, symlinks=True)
    for name, value in (("data.lanes", 4), ("data.mixed_shards", 1), ("data.pack", "disk")):
        with pytest.raises(UsageError, match=f"a started run can't change {name}"):
            continue_run(copy, {name: value})


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
