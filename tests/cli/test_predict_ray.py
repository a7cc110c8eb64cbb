"""`loupe predict --on ray`: the files of one process, made by the workers of a cluster."""

import io
import sys

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet
from tar_files import put

from torchloupe.cli.main import run as loupe
from torchloupe.cli.predict_ray import find_resource
from torchloupe.train.start import train

SETTINGS = {
    **{"train.epochs": 1, "model.name": "cnn", "train.report": False, "check.level": "off"},
    **{"hardware.precision": "fp32", "hardware.channels_last": False, "hardware.threads": 1},
}


def test_a_worker_has_a_gpu_where_there_are_some_else_a_core() -> None:
    assert find_resource({"CPU": 16.0, "GPU": 2.0}) == ("GPU", 2)
    assert find_resource({"CPU": 3.0, "memory": 1e9}) == ("CPU", 3)
    assert find_resource({}) == ("CPU", 1)


def test_without_ray_it_is_said_what_to_install(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    put(tmp_path / "a.tar", [("1.png", b"")])
    words = ["predict", str(tmp_path), str(tmp_path / "a.tar"), "--on", "ray"]
    assert loupe([*words, "--out", str(tmp_path / "labels")]) == 2
    assert "pip install 'torchloupe[ray]'" in capsys.readouterr().err
    assert loupe(words) == 2
    assert "add --out FOLDER" in capsys.readouterr().err
    assert loupe([*words[:-1], "dask", "--out", str(tmp_path / "labels")]) == 2
    assert "--on takes ray" in capsys.readouterr().err
    assert loupe(["predict", str(tmp_path), str(tmp_path / "a.png"), "--ranks", "2"]) == 2
    assert "these are no shards" in capsys.readouterr().err


@pytest.mark.slow
def test_workers_of_a_cluster_make_the_files_that_one_process_makes(tmp_path) -> None:
    pytest.importorskip("ray")
    drawn = np.random.default_rng(0)
    pixels = drawn.integers(0, 255, (90, 8, 8, 3), dtype=np.uint8)
    train((pixels, np.arange(90) % 3), SETTINGS, out=tmp_path / "run")
    (tmp_path / "shards").mkdir()
    for shard in range(5):
        members = []
        for number in range(20):
            file = io.BytesIO()
            Image.fromarray(pixels[shard * 10 + number]).save(file, "PNG")
            members.append((f"{number}.png", file.getvalue()))
        put(tmp_path / "shards" / f"{shard}.tar", members)
    words = ["predict", str(tmp_path / "run"), str(tmp_path / "shards"), "--out"]
    assert loupe([*words, str(tmp_path / "one")]) == 0
    assert loupe([*words, str(tmp_path / "ray"), "--on", "ray"]) == 0
    names = [{path.name for path in (tmp_path / name).iterdir()} for name in ("one", "ray")]
    assert names[0] == names[1]
    assert len(names[0]) == 6
    for name in sorted(names[0] - {"predictions.json"}):
        one, ray = (parquet.read_table(tmp_path / place / name) for place in ("one", "ray"))
        assert one["path"].to_pylist() == ray["path"].to_pylist()
        # A worker has one thread a core that it was given, which decides the last bits.
        there = [table["confidence"].to_numpy() for table in (one, ray)]
        np.testing.assert_allclose(*there, rtol=1e-4)
