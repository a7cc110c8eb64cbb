"""`loupe probe` from the command line."""

import json

import numpy as np
import pytest

from torchloupe.cli import main
from torchloupe.cli import probe as command
from torchloupe.speed import trial


def test_probe_prints_ways_rates_and_a_verdict(tmp_path, capsys, monkeypatch) -> None:
    probe = trial.probe
    monkeypatch.setattr(trial, "probe", lambda *given, seconds: probe(*given, seconds=seconds / 20))
    monkeypatch.setattr(command, "_RATE_SECONDS", 0.1)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (80, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(80) % 2)
    words = ["probe", str(tmp_path / "data.npz"), "--model", "net", "--quiet"]
    assert main.run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(way["usual"] for way in found["variants"]) == 1
    assert all(way["images_per_second"] > 0 for way in found["variants"] if way["agrees"])
    assert found["rates"]["together"] > 0
    assert len(found["verdict"]) == 2
    assert main.run(words) == 0
    out = capsys.readouterr().out
    for expected in ("training uses this", "data alone", "both, as in training", "the limit"):
        assert expected in out or "share the time" in out
    assert list(tmp_path.iterdir()) == [tmp_path / "data.npz"]


def test_probe_of_nothing_is_two_lines(capsys) -> None:
    assert main.run(["probe", "nowhere/"]) == 2
    assert capsys.readouterr().err.count("\n") == 2


@pytest.mark.slow
def test_probe_tries_compiling_where_asked_for(capsys) -> None:
    words = ["probe", "digits", "--model", "net", "--set", "hardware.compile=true", "--json"]
    assert main.run(words) == 0
    ways = json.loads(capsys.readouterr().out)["variants"]
    assert [way["compiled"] for way in ways].count(True) == 1
    assert next(way for way in ways if way["compiled"])["images_per_second"] > 0
