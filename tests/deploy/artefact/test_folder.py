"""Exported folders appear whole or not at all, replace only exports, and know their hashes."""

import json
import subprocess
from pathlib import Path

import pytest

from torchloupe.deploy.artefact.folder import (
    FACTS,
    SUMS,
    is_export,
    new_folder,
    read_facts,
    refuse_foreign,
)
from torchloupe.errors import CheckpointError, UsageError


def write(folder: Path, **more: object) -> None:
    """A folder with the least that an export has."""
    with new_folder(folder) as place:
        (place / FACTS).write_text(json.dumps({"format": 1, "to": "onnx", **more}))
        (place / "model.onnx").write_bytes(b"model")


def test_new_folder_replaces_an_older_export(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write(folder, step=1)
    write(folder, step=2)
    assert read_facts(folder)["step"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_new_folder_leaves_nothing_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with new_folder(tmp_path / "out"):
            raise CheckpointError("parity", "none")

    with pytest.raises(CheckpointError, match="parity"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_new_folder_refuses_what_is_no_export(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds no export"):
        refuse_foreign(tmp_path)
    with pytest.raises(UsageError, match="is a file"):
        refuse_foreign(tmp_path / "mine.txt")


def test_new_folder_replaces_no_file_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"older export, and notes\.txt, which would be lost"):
        write(tmp_path / "out")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / FACTS).write_text("{}")  # of another program
    with pytest.raises(UsageError, match="holds no export"):
        write(tmp_path / "theirs")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(UsageError, match="this is where you are"):
        write(Path())
    assert [path.name for path in (tmp_path / "out").glob("*.txt")] == ["notes.txt"]


def test_new_folder_goes_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    write(tmp_path / "out", step=1)
    assert (tmp_path / "out").is_symlink()
    assert read_facts(tmp_path / "disk")["step"] == 1


def test_sums_are_those_of_sha256sum(tmp_path: Path) -> None:
    write(tmp_path / "out")
    done = subprocess.run(
        ["sha256sum", "--check", SUMS], cwd=tmp_path / "out", capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_read_facts_refuses_damage_and_other_folders(tmp_path: Path) -> None:
    assert not is_export(tmp_path)
    with pytest.raises(CheckpointError, match="no exported folder"):
        read_facts(tmp_path)
    write(tmp_path / "out")
    (tmp_path / "out" / "model.onnx").write_bytes(b"other")
    with pytest.raises(CheckpointError, match=r"model\.onnx .* differs"):
        read_facts(tmp_path / "out")
    write(tmp_path / "newer", format=99)
    with pytest.raises(CheckpointError, match="another format"):
        read_facts(tmp_path / "newer")
    write(tmp_path / "unknown", to="coreml")
    with pytest.raises(CheckpointError, match="no kind of export"):
        read_facts(tmp_path / "unknown")
