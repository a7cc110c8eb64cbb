"""Data written as shards: the same bytes whoever writes, also after a kill."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from torchloupe.data.samples import Samples
from torchloupe.data.shards.index import read_index
from torchloupe.data.shards.sharding import encode, find_finished, plan_shards, write_shards
from torchloupe.data.sources import open_data
from torchloupe.data.sources.source import ArrayReader, Data
from torchloupe.data.split import Splits, split_samples
from torchloupe.errors import UsageError


def make_data(count=200, classes=3):
    pixels = np.random.default_rng(0).integers(0, 255, (count, 6, 6, 3), dtype=np.uint8)
    ids = np.array([f"row {k}" for k in range(count)], dtype=np.dtypes.StringDType())
    labels = np.arange(count) % classes
    names = tuple(f"class {k}" for k in range(classes))
    return Data("set", "arrays", Samples(ids, labels, names), None, ArrayReader(pixels))


def write(data, out, threads=1, shard_bytes=40_000):
    planned = plan_shards(data, split_samples(data.samples), shard_bytes, seed=0)
    return planned, write_shards(data, planned, out, threads=threads)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_shards_hold_every_image_once_and_their_bytes_depend_on_nothing_else(tmp_path):
    data = make_data()
    planned, index = write(data, tmp_path / "a")
    write(data, tmp_path / "b", threads=4)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert sorted(index.ids.tolist()) == sorted(data.samples.ids.tolist())
    assert index.is_checked
    assert find_finished(data, planned, read_index(tmp_path / "a" / "index.safetensors"))
    assert {plan.name.partition("-")[0] for plan in planned} == {"train", "val", "test"}
    assert len(planned) > 6


def test_shards_open_with_the_labels_and_pixels_that_were_written(tmp_path):
    data = make_data()
    write(data, tmp_path)
    found = open_data(tmp_path)
    rows = {str(name): row for row, name in enumerate(data.samples.ids)}
    for row, name in enumerate(found.samples.ids.tolist()):
        label = found.samples.class_names[found.samples.labels[row]]
        assert label == data.samples.class_names[data.samples.labels[rows[name]]]
        assert found.reader.read(row) == encode(data.reader.read(rows[name]))
    (tmp_path / "index.safetensors").unlink()
    plain = open_data(tmp_path)  # as any reader of WebDataset sees it
    assert plain.samples.class_counts().tolist() == found.samples.class_counts().tolist()
    assert plain.given.tolist() == found.given.tolist()


def test_several_labels_are_written_too(tmp_path):
    data = make_data()
    several = (np.arange(200)[:, None] >> np.arange(3) & 1).astype(np.float32)
    samples = Samples(data.samples.ids, several, data.samples.class_names)
    data = Data("set", "arrays", samples, None, data.reader)
    _, index = write(data, tmp_path)
    (tmp_path / "index.safetensors").unlink()
    plain = open_data(tmp_path)
    assert plain.samples.is_multi_label
    numbered = np.argsort([str(name).rpartition("/")[2] for name in plain.samples.ids])
    assert np.array_equal(plain.samples.labels[numbered], index.labels)


def test_a_writing_that_was_killed_goes_on_to_the_same_files(tmp_path):
    data = make_data()
    write(data, tmp_path / "whole")
    wanted = files_of(tmp_path / "whole")
    code = (
        "import sys, pathlib; from tests.data.shards.test_sharding import make_data, write\n"
        "import torchloupe.data.shards.sharding as s, time\n"
        "old = s._write\n"
        "def slow(*a):\n    time.sleep(0.1)\n    return old(*a)\n"
        "s._write = slow\n"
        "write(make_data(), pathlib.Path(sys.argv[1]))\n"
    )
    out = tmp_path / "killed"
    child = subprocess.Popen([sys.executable, "-c", code, str(out)])
    while not (out.is_dir() and len(list(out.glob("*.tar"))) >= 2):
        assert child.poll() is None
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not (out / "index.safetensors").exists()
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    write(data, out)
    assert files_of(out) == wanted
    kept = [n for n, t in before.items() if (out / n).stat().st_mtime_ns == t]
    assert len(kept) >= len(before) - 1


def test_arrays_that_fit_in_no_image_file_are_refused():
    with pytest.raises(UsageError, match="fit in no image file"):
        encode(np.zeros((4, 4, 3), dtype=np.float32))
    assert encode(b"as it is") == b"as it is"


def test_an_empty_split_gets_no_shard():
    data = make_data(20)
    rows = np.arange(20)
    planned = plan_shards(data, Splits(rows, rows[:0], rows[:0]), 10**9, 0)
    assert [plan.name for plan in planned] == ["train-000000.tar"]
