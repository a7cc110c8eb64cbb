"""`loupe info` on this machine."""

import json
import os
import platform
from pathlib import Path

import pytest
import torch

from torchloupe import __version__
from torchloupe.cli import main
from torchloupe.cli.machine import look_at_machine
from torchloupe.system.cache import find_cache


def test_look_at_machine_finds_versions_devices_and_threads() -> None:
    facts = look_at_machine()
    assert facts["versions"]["python"] == platform.python_version()
    assert facts["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert facts["devices"][0]["device"] == "cpu"
    assert facts["devices"][0]["memory_bytes"] > 100_000_000
    assert facts["devices"][0]["formats"][0] == "fp32"
    assert 1 <= facts["threads"]["cores"] <= (os.cpu_count() or 1)
    assert facts["threads"]["torch"] == torch.get_num_threads()
    assert facts["auto"]["device"] in {device["device"] for device in facts["devices"]}


def test_look_at_machine_shows_the_cache_folder_that_is_used() -> None:
    assert look_at_machine()["cache"]["folder"] == str(find_cache())


def test_look_at_machine_measures_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = Path(look_at_machine()["cache"]["folder"])
    assert folder.is_relative_to(tmp_path)
    (folder / "packs").mkdir(parents=True)
    (folder / "packs" / "one").write_bytes(b"x" * 1234)
    assert look_at_machine()["cache"]["bytes"] == 1234


def test_info_prints_facts_as_text_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["info"]) == 0
    text = capsys.readouterr().out
    assert f"torchloupe {__version__}" in text
    assert main.run(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert set(facts) == {"versions", "devices", "auto", "threads", "profile", "cache"}
    assert f"{facts['threads']['torch']} of {facts['threads']['cores']} cores" in text


def test_probe_measures_the_profile_that_info_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main.run(["info"]) == 0
    assert "not measured yet" in capsys.readouterr().out
    assert main.run(["probe", "--refresh", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert main.run(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["profile"] == measured
    assert main.run(["probe", "--refresh", "--quiet"]) == 0
    line = capsys.readouterr().out.strip()
    assert main.run(["info"]) == 0
    shown = capsys.readouterr().out
    assert line in " ".join(shown.split()) and "images/s with" in line and "Muon" in line


def test_probe_without_data_and_without_a_place_for_a_profile_is_two_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["probe"]) == 2
    assert capsys.readouterr().err.count("\n") == 2
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert main.run(["probe", "--refresh", "--quiet"]) == 6
    assert capsys.readouterr().err.count("\n") == 2
