"""`loupe pack`: built ahead, listed, cleared; what contradicts itself is refused."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from children import Child, wait_until
from PIL import Image

from torchloupe.cli import main
from torchloupe.data.sources import index
from torchloupe.system import cache as cache_module

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, an empty one of this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "cache"


@pytest.fixture
def photos(tmp_path: Path) -> str:
    """Twelve small colour images of two classes."""
    rng = np.random.default_rng(0)
    for k in range(12):
        path = tmp_path / "photos" / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).save(path)
    return str(tmp_path / "photos")


def run(capsys: Capture, *words: str, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert main.run(["pack", *words]) == code
    found = capsys.readouterr()
    return found.out, found.err


def run_json(capsys: Capture, *words: str) -> Any:
    return json.loads(run(capsys, *words, "--json")[0])


def test_pack_is_built_ahead_and_found_by_training(
    cache: Path, photos: str, tmp_path: Path, capsys: Capture
) -> None:
    out, err = run(capsys, photos)
    assert out.splitlines()[0] == "data    photos: 12 images of 3 x 20 x 24"
    assert out.splitlines()[1].startswith("pack    17.3 kB, built in ")
    assert err.startswith("decoding 12 images into a pack of 3 x 20 x 24: 17.3 kB in ")
    assert "reading images: 12 of 12" in err
    folder = Path(out.splitlines()[2].split()[1])
    assert folder.is_relative_to(cache) and (folder / "pixels.bin").stat().st_size == 17_280
    out, err = run(capsys, photos)
    assert "17.3 kB, there already, and whole" in out and err == ""
    assert run(capsys, photos, "--set", "data.size=9", "--quiet")[1] == ""
    words = ["--epochs", "1", "--model", "net", "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert main.run(["train", photos, *words]) == 0
    assert "decod" not in capsys.readouterr().err


def test_pack_as_json(cache: Path, photos: str, capsys: Capture) -> None:
    (Path(photos) / "a" / "broken.png").write_text("no image")
    words = (photos, "--set", "data.size=16", "--set", "data.bad_fraction=0.1")
    found = run_json(capsys, *words)
    assert found.pop("seconds") > 0
    assert Path(found.pop("folder")).parent == cache / "torchloupe" / "packs"
    (set_aside,) = found.pop("set_aside")
    assert set_aside["id"] == "a/broken.png" and "not an image" in set_aside["reason"]
    assert set_aside["kind"] == "not an image"
    assert found == {
        "data": "photos",
        "images": 13,
        "shape": [3, 16, 16],
        "bytes": 13 * 768,
        "built": True,
    }
    assert run_json(capsys, *words)["built"] is False
    _, err = run(capsys, photos, code=3)
    assert "1 image of 13 can't be read, more than 1.0% (1 not an image): a/broken.png" in err
    out, err = run(capsys, photos, "--json", code=3)
    assert [bad["id"] for bad in json.loads(out)["set_aside"]] == ["a/broken.png"]
    assert "1 image of 13 can't be read" in err


def test_pack_of_an_array_is_none(cache: Path, capsys: Capture) -> None:
    out, _ = run(capsys, "digits")
    assert "none is needed: the images are an array" in out
    assert run_json(capsys, "digits")["folder"] is None
    assert not cache.exists()


def test_packs_are_listed_and_cleared(cache: Path, photos: str, capsys: Capture) -> None:
    assert run(capsys, "--list")[0].startswith("0 packs, 0 B in ")
    for size in ("8", "16"):
        run(capsys, photos, "--set", f"data.size={size}")
    lines = run(capsys, "--list")[0].splitlines()
    assert lines[0].split() == ["data", "images", "shape", "size", "last", "used", "key", "state"]
    assert lines[1].split()[:5] == ["photos", "12", "3", "x", "16"]
    assert lines[2].split()[:5] == ["photos", "12", "3", "x", "8"]
    assert lines[1].split()[-1] == "whole" and lines[3].startswith("2 packs, ")
    found = run_json(capsys, "--list", "--check")
    assert [entry["state"] for entry in found["packs"]] == ["sound", "sound"]
    assert [entry["shape"] for entry in found["packs"]] == [[3, 16, 16], [3, 8, 8]]
    older = found["packs"][1]
    os.utime(Path(older["folder"]) / "about.json", (1e9, 1e9))
    assert run_json(capsys, "--list")["packs"][1]["last_used"] == "2001-09-09T01:46:40Z"
    done = run_json(capsys, "--clear", "photos", "--older-than", "30")
    assert [entry["key"] for entry in done["removed"]] == [older["key"]] and done["kept"] == []
    assert done["bytes"] == older["bytes"]
    newer = found["packs"][0]
    (Path(newer["folder"]) / "mine").touch()
    out, err = run(capsys, "--clear", newer["key"][:8])
    assert out == "removed 0 packs, 0 B\n"
    assert err == f"note: {newer['folder']} is kept: mine in it is not torchloupe's\n"
    (Path(newer["folder"]) / "mine").unlink()
    assert run(capsys, "--clear", "all")[0].startswith("removed 1 pack, ")
    assert run_json(capsys, "--list")["packs"] == []
    assert run(capsys, "--clear", "all")[0] == "removed 0 packs, 0 B\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "loupe pack needs DATA, --list or --clear"),
        (["x", "--list"], "loupe pack needs DATA, --list or --clear, and only one"),
        (["--list", "--clear", "all"], "loupe pack needs DATA, --list or --clear, and only one"),
        (["x", "--check"], "--check goes with --list only"),
        (["--list", "--older-than", "3"], "--older-than goes with --clear only"),
        (["--clear", "all", "--set", "data.size=8"], "--set goes with DATA only"),
        (["digits", "--set", "data.pack=off"], "data.pack=off asks for no pack on disk"),
        (["--clear", "all", "--older-than", "-1"], "--older-than: it is -1 and should be more"),
        (["--clear", "photo"], "there is no pack of the name or key 'photo'"),
    ],
)
def test_pack_refuses_what_contradicts_itself(
    cache: Path, words: list[str], message: str, capsys: Capture
) -> None:
    _, err = run(capsys, *words, code=2)
    assert err.startswith(f"error: {message}") and "\nhint: " in err


def test_indexes_are_listed_and_cleared_with_packs(
    cache: Path, photos: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "LARGE", 10)
    monkeypatch.setattr(index, "SETTLED_NS", -(10**12))
    run(capsys, photos)
    rows = run(capsys, "--list")[0].splitlines()
    assert rows[-1].startswith("1 pack and 1 index, ")
    (row,) = [row.split() for row in rows if row.endswith(" index")]
    assert row[:3] == ["photos", "12", "-"]
    facts = {pack["state"]: pack for pack in run_json(capsys, "--list", "--check")["packs"]}
    assert set(facts) == {"sound", "index"}
    assert (facts["index"]["images"], facts["index"]["shape"]) == (12, None)
    assert run(capsys, "--clear", "photos")[0].startswith("removed 1 pack and 1 index, ")
    assert run(capsys, "--list")[0].startswith("0 packs, 0 B in ")


def test_clear_suggests_the_name_that_was_meant(cache: Path, photos: str, capsys: Capture) -> None:
    run(capsys, photos)
    assert "did you mean 'photos'?" in run(capsys, "--clear", "phots", code=2)[1]


def test_pack_of_a_dataset_of_ones_own_is_refused(
    cache: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch.utils.data import TensorDataset\n"
        "data = TensorDataset(torch.zeros(9, 1, 4, 4), torch.arange(9) % 3)\n"
    )
    _, err = run(capsys, f"{tmp_path}/mine.py:data", code=2)
    assert "is a Dataset of your own" in err


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_pack_that_is_stopped_by_a_signal_goes_on_later(
    cache: Path, tmp_path: Path, capsys: Capture
) -> None:
    rng = np.random.default_rng(0)
    for k in range(60):  # of which sixteen make a chunk
        path = tmp_path / "large" / "ab"[k % 2] / f"{k:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (400, 400, 3), np.uint8)).save(path)
    said = tmp_path / "said.txt"
    child = Child(["pack", str(tmp_path / "large")], said, variables={"XDG_CACHE_HOME": str(cache)})
    journals = "torchloupe/packs/.*building*/journal"
    assert wait_until(lambda: bool(list(cache.glob(journals))), child)
    child.send(signal.SIGTERM)
    assert child.end() == 143
    text = said.read_text()
    assert "error: stopped by SIGTERM" in text and "pack    " not in text
    assert [entry["state"] for entry in run_json(capsys, "--list")["packs"]] == ["unfinished"]
    _, err = run(capsys, str(tmp_path / "large"))
    assert "of them are there already, from a build that was stopped" in err
    assert [entry["state"] for entry in run_json(capsys, "--list")["packs"]] == ["whole"]
