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
    assert set(facts) == {"versions", "devices", "auto", "threads", "cache"}
    assert f"{facts['threads']['torch']} of {facts['threads']['cores']} cores" in text
