"""The line that says what is being loaded, on a real pseudo-terminal."""

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
import textwrap
import time
from pathlib import Path

import pytest

from torchloupe.display.waiting import NoLine, waiting_line

CLEAR = "\r\x1b[K"


def open_terminal(columns: int) -> tuple[int, int]:
    """Both ends of a new pseudo-terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    return ours, theirs


def read_all(terminal: int) -> str:
    """All that was written to a terminal whose other end is closed now."""
    seen = b""
    while True:
        try:
            piece = os.read(terminal, 65_536)
        except OSError:  # Linux says EIO when the other end is closed
            break
        if not piece:
            break
        seen += piece
    os.close(terminal)
    return seen.decode()


def shown_by(script: str, columns: int = 80, **environment: str) -> str:
    """What a script writes to a terminal that is its stderr."""
    ours, theirs = open_terminal(columns)
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR")}
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        env={**kept, "TERM": "xterm", **environment},
    )
    os.close(theirs)
    shown = read_all(ours)  # while it runs: a terminal nobody reads from blocks it after 4 KiB
    assert child.wait() == 0
    return shown


SCRIPT = """
import sys
from torchloupe.display.waiting import waiting_line
with waiting_line(quiet={quiet}) as line:
    line.say({text!r})
    line.say("reading photos/")
    print("first", file=sys.stderr)
    print("second", file=sys.stderr)
"""


def test_the_line_is_replaced_and_cleared_by_the_first_text() -> None:
    seen = shown_by(SCRIPT.format(quiet=False, text="loading PyTorch"))
    assert seen == (
        f"{CLEAR}loading PyTorch ...\r{CLEAR}reading photos/ ...\r{CLEAR}first\r\nsecond\r\n"
    )


def test_the_line_is_never_wider_than_the_terminal() -> None:
    seen = shown_by(SCRIPT.format(quiet=False, text="reading " + "x" * 90), columns=40)
    line = seen.split("\r")[1].removeprefix("\x1b[K")
    assert line == "reading " + "x" * 28 + "..."
    assert len(line) == 39


def test_the_line_shows_no_control_characters_of_a_path() -> None:
    seen = shown_by(SCRIPT.format(quiet=False, text="reading a\x1b[2J\nb"))
    assert "reading a\\x1b[2J\\nb ..." in seen


@pytest.mark.parametrize(("quiet", "term"), [(True, "xterm"), (False, "dumb")])
def test_there_is_no_line_where_it_is_not_wanted(quiet: bool, term: str) -> None:
    seen = shown_by(SCRIPT.format(quiet=quiet, text="loading"), TERM=term)
    assert seen == "first\r\nsecond\r\n"


def test_there_is_no_line_where_stderr_is_not_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with waiting_line() as line:
        line.say("loading PyTorch")
        assert type(line) is NoLine
    assert capsys.readouterr().err == ""


def test_there_is_no_line_where_stderr_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        monkeypatch.setattr(sys, "stderr", stream)
        with waiting_line() as line:
            line.say("loading PyTorch")
            assert type(line) is NoLine


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (["train", "digits"], "loading PyTorch ..."),
        (["resume", "runs/x"], "loading PyTorch ..."),
        (["predict", "runs/x", "a.png"], "loading PyTorch ..."),
        (["eval", "runs/x"], "loading PyTorch ..."),
        (["info"], "loading PyTorch ..."),
    ],
)
def test_a_command_shows_what_it_loads_before_torch_is_imported(
    words: list[str], first: str, tmp_path: Path
) -> None:
    """The torch found first hangs, as a cold disk makes it; the line is there all the same."""
    (tmp_path / "torch.py").write_text("import time\ntime.sleep(60)\n")
    ours, theirs = open_terminal(80)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    child = subprocess.Popen(
        [sys.executable, "-m", "torchloupe", *words],
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm", "PYTHONPATH": path},
    )
    os.close(theirs)
    try:
        seen, end = "", time.monotonic() + 20
        while first not in seen and time.monotonic() < end:
            seen += os.read(ours, 1000).decode()
        assert seen == f"{CLEAR}{first}\r"
    finally:
        child.kill()
        child.wait()
        os.close(ours)


FIT = """
import sys
import numpy as np
import torchloupe as loupe

def reads_late():
    print("<reads>", file=sys.__stderr__)
    images = np.zeros((12, 8, 8), np.uint8)
    return images, np.arange(12) % 2

loupe.fit(reads_late(), model="net", epochs=1, out={out!r})
loupe.resume({out!r}, data=reads_late(), settings={{"train.epochs": 2}})
"""


def test_fit_and_resume_show_at_once_what_they_read(tmp_path: Path) -> None:
    seen = shown_by(FIT.format(out=str(tmp_path / "run")))
    first, second = (part.strip() for part in seen.split("<reads>")[1:])
    assert first.startswith("\x1b[Kreading the data ...\r")
    assert second.startswith(f"\x1b[Kopening {tmp_path}"[:70])
