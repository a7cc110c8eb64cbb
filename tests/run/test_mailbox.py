"""Messages to a run: whole, in order, once, and only to one that runs."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from children import run_function

from torchloupe.errors import UsageError
from torchloupe.run.folder import RunFolder
from torchloupe.run.mailbox import PREFIX, READ_SECONDS, Mailbox, is_running, send


def set_clock(monkeypatch: pytest.MonkeyPatch, now: list[float]) -> None:
    """Let the mailbox alone see this time: a server in the same process keeps its own."""
    clock = SimpleNamespace(monotonic=lambda: now[0], time_ns=time.time_ns)
    monkeypatch.setattr("torchloupe.run.mailbox.time", clock)


def leave(folder: Path, *messages: str) -> None:
    for number, message in enumerate(messages):
        (folder / f"{PREFIX}{number}").write_text(message)


def test_messages_are_read_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    set_clock(monkeypatch, now)
    mailbox = Mailbox(tmp_path)
    leave(tmp_path, "save", "lr=0.1")
    assert mailbox.read() == ["save", "lr=0.1"]
    leave(tmp_path, "stop")
    assert mailbox.read() == []  # too early
    now[0] += READ_SECONDS
    assert mailbox.read() == ["stop"]
    now[0] += READ_SECONDS
    assert mailbox.read() == []
    assert list(tmp_path.iterdir()) == []


def test_a_message_in_the_same_tick_of_the_file_system_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    set_clock(monkeypatch, now)
    mailbox = Mailbox(tmp_path)
    (tmp_path / "last").touch()
    tick = tmp_path.stat().st_mtime_ns
    assert mailbox.read() == []
    leave(tmp_path, "save")
    os.utime(tmp_path, ns=(tick, tick))  # as a coarse clock has it
    now[0] += READ_SECONDS
    assert mailbox.read() == ["save"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("stop")
    (tmp_path / f"{PREFIX}1").symlink_to(tmp_path / "secret")
    assert Mailbox(tmp_path).read() == []
    assert (tmp_path / "secret").exists()


def send_from_there(folder: Path) -> None:
    send(folder, "save")


def test_only_a_run_that_is_worked_on_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no process trains"):
        send(tmp_path, "save")
    with RunFolder(tmp_path) as run:
        assert run_function(send_from_there, tmp_path) == 0
        assert run.mailbox.read() == ["save"]
        assert run_function(send_from_there, tmp_path) == 0
    assert not is_running(tmp_path)
    assert list(tmp_path.iterdir()) == []  # what nobody read is removed
