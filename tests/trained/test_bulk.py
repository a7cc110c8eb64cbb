"""Predictions for shards: each image once, whatever is killed, and always the same files."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet
from tar_files import put
from web_server import serving

from torchloupe.cli.main import run as loupe
from torchloupe.train.start import train
from torchloupe.trained.run import open_run

pytestmark = pytest.mark.usefixtures("own_cache")

SETTINGS = {
    "train.epochs": 1,
    "model.name": "cnn",
    "train.report": False,
    "check.level": "off",
    "hardware.precision": "fp32",
    "hardware.channels_last": False,
    "hardware.threads": 1,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    pixels = np.random.default_rng(0).integers(0, 255, (90, 8, 8, 3), dtype=np.uint8)
    train((pixels, np.arange(90) % 3), SETTINGS, out=out)
    return out


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Unlabelled images, one of them cut; as other tools write them."""
    folder = tmp_path_factory.mktemp("shards")
    drawn = np.random.default_rng(1)
    for shard in range(6):
        members = []
        for number in range(40):
            file = io.BytesIO()
            Image.fromarray(drawn.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(file, "PNG")
            content = file.getvalue()
            if (shard, number) == (2, 7):
                content = content[:60]
            members.append((f"{shard}-{number:03d}.png", content))
            members.append((f"{shard}-{number:03d}.txt", b"a caption"))
        put(folder / f"in-{shard}.tar", members)
    return folder


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(run, shards, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "labels"
    assert loupe(["predict", str(run), str(shards), "--out", str(out), "--top", "2"]) == 3
    return files_of(out)


def test_every_image_has_one_row_as_predict_gives_it(whole, run, shards, tmp_path):
    assert sorted(whole) == sorted([*(f"in-{k}.parquet" for k in range(6)), "predictions.json"])
    rows = [
        row
        for name in sorted(whole)
        if name.endswith("parquet")
        for row in parquet.read_table(io.BytesIO(whole[name])).to_pylist()
    ]
    names = [f"in-{s}.tar/{s}-{n:03d}.png" for s in range(6) for n in range(40)]
    assert [row["path"] for row in rows] == names
    (bad,) = [row for row in rows if row["error"]]
    assert bad["path"] == "in-2.tar/2-007.png"
    assert bad["label"] is None and "truncated" in bad["error"]
    summary = json.loads(whole["predictions.json"])
    assert (summary["images"], summary["unreadable"]) == (240, 1)
    assert summary["unreadable_images"] == [{"path": bad["path"], "error": bad["error"]}]
    single = open_run(run).predict(png_in(shards / "in-4.tar", 12), top=2)
    assert (rows[4 * 40 + 12]["label"], rows[4 * 40 + 12]["confidence"]) == (
        single.label,
        single.confidence,
    )


def png_in(path, number):
    import tarfile

    with tarfile.open(path) as archive:
        return archive.extractfile(f"4-{number:03d}.png").read()


def test_far_shards_and_ranks_give_the_same_files(whole, run, shards, tmp_path):
    out = tmp_path / "labels"
    with serving(shards, failing=0.02) as server:
        words = ["predict", str(run), f"{server.url}/in-{{0..5}}.tar", "--out", str(out)]
        for rank in (1, 0, 2):
            with pytest.MonkeyPatch.context() as patch:
                facts = {"RANK": rank, "WORLD_SIZE": 3, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": 3}
                for name, value in {**facts, "MASTER_ADDR": "localhost"}.items():
                    patch.setenv(name, str(value))
                assert loupe([*words, "--top", "2"]) == (3 if rank == 2 else 0)
    found = files_of(out)
    tables = [
        parquet.read_table(io.BytesIO(f[n])) for f in (found, whole) for n in ("in-3.parquet",)
    ]
    assert tables[0].equals(tables[1])
    assert json.loads(found["predictions.json"]) == json.loads(whole["predictions.json"])


@pytest.mark.long
def test_a_prediction_that_is_killed_three_times_ends_with_the_same_files(
    whole, run, shards, tmp_path
):
    out = tmp_path / "labels"
    code = (
        "import sys, time; import torchloupe.trained.bulk as b\n"
        "from torchloupe.cli.main import run\n"
        "old = b.Outbox.write\n"
        "def slow(self, name, content):\n    time.sleep(0.3); old(self, name, content)\n"
        "b.Outbox.write = slow\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    words = ["predict", str(run), str(shards), "--out", str(out), "--top", "2"]
    for parts in (1, 2, 4):
        child = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 120
        while not (out.is_dir() and len(list(out.glob("*.parquet"))) >= parts):
            assert child.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    assert loupe(words) == 3
    assert files_of(out) == whole
    assert all((out / name).stat().st_mtime_ns == when for name, when in before.items())


def test_parts_of_other_options_or_shards_are_not_taken(whole, run, shards, tmp_path, capsys):
    out = tmp_path / "labels"
    out.mkdir()
    (out / "in-3.parquet").write_bytes(whole["in-3.parquet"])
    assert loupe(["predict", str(run), str(shards / "in-3.tar"), "--out", str(out)]) == 2
    assert "of another run, other shards or other options" in capsys.readouterr().err


def test_what_shards_need_is_said(run, shards, tmp_path, capsys):
    assert loupe(["predict", str(run), str(shards)]) == 2
    assert "add --out FOLDER" in capsys.readouterr().err
    assert loupe(["predict", str(run), str(shards), "--out", str(tmp_path / "a.csv")]) == 2
    assert "a Parquet file for each shard" in capsys.readouterr().err
    assert loupe(["predict", str(run), str(shards / "in-9.tar"), "--out", str(tmp_path / "x")]) == 3
    assert "in-9.tar is not there" in capsys.readouterr().err
