"""Files: whole or as they were."""

import os
import subprocess
import sys

import pytest

from torchloupe.errors import ResourceError
from torchloupe.system import files


def refuse(*_):
    raise OSError(5, "Input/output error")


def test_replace_file_is_whole_or_old(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    files.replace_file(path, b"old")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ResourceError, match="Input/output error"):
        files.replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_replace_file_follows_no_link_at_its_names(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("metrics.json", ".metrics.json.writing"):
        (folder / name).symlink_to(precious)
    files.replace_file(folder / "metrics.json", b"new")
    assert precious.read_text() == "keep me"
    assert not (folder / "metrics.json").is_symlink()
    assert [p.name for p in folder.iterdir()] == ["metrics.json"]


def test_a_place_that_can_not_be_written_is_told_from_a_full_disk(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="Not a directory") as caught:
        files.replace_file(tmp_path / "file" / "report.html", b"new")
    assert caught.value.hint == "give a place that exists and can be written, with --out"
    full = files.disk_error(OSError(28, "No space left on device"), tmp_path / "a", 10)
    assert full.hint.startswith("make room")


def test_point_link_replaces_a_link_and_is_relative(tmp_path):
    for name in ("first", "second"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        files.point_link(tmp_path / "last", tmp_path / "checkpoints" / name)
    assert (tmp_path / "last").readlink().as_posix() == "checkpoints/second"


def test_append_line_leaves_no_half_line_on_a_full_disk(tmp_path):
    path = tmp_path / "events.jsonl"
    code = (
        "import resource, signal\n"
        "from pathlib import Path\n"
        "from torchloupe.system.files import append_line\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"path = Path({str(path)!r})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50, resource.RLIM_INFINITY))\n"
        "append_line(path, b'x' * 39 + b'\\n')\n"
        "try:\n    append_line(path, b'y' * 39 + b'\\n')\n"
        "except OSError as error:\n    print('refused')\n"
        "append_line(path, b'z' * 9 + b'\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"
    assert path.read_bytes() == b"x" * 39 + b"\n" + b"z" * 9 + b"\n"


def test_remove_takes_a_link_and_not_what_it_leads_to(tmp_path):
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    files.remove(tmp_path / "link")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    files.remove(tmp_path / "folder")
    files.remove(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


def test_sync_flushes_files_and_folders_and_raises_for_what_is_not_there(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    files.sync(tmp_path / "file")
    files.sync(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.sync(tmp_path / "none")
