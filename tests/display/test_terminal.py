"""The displays, on terminals of many kinds, a real pseudo-terminal among them."""

import fcntl
import io
import os
import pty
import struct
import sys
import termios
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from torchloupe.display.terminal import Above, LineDisplay, LiveDisplay, Silent, make_display
from torchloupe.run.events import Choice, Note

FACTS = {
    "run": "runs/digits-001",
    "data": "digits",
    "train_count": 1340,
    "val_count": 150,
    "class_count": 10,
    "model": "[bold]residual[/bold]",
    "parameters": 272474,
    "device": "cpu",
    "precision": "fp32",
    "epochs": 2.0,
    "total_steps": 20,
    "batch_total": 128,
}
EVENTS: list[dict[str, Any]] = [
    {"phase": "pack", "done": 0, "total": 9},
    {"phase": "pack", "done": 4, "total": 9},
    {"phase": "pack", "done": 9, "total": 9},
    {"note": "class '\x1b[31mcat[/red]' has 3 images"},
    {"step": 10, "epoch": 1.0, "seconds": 1.0, "train_loss": 0.5, "images_per_second": 1280.0},
    {"step": 10, "epoch": 1.0, "seconds": 1.0, "val_loss": 0.4, "val_accuracy": 0.75, "best": True},
    {"step": 15, "bad_step": True, "loss": "nan", "rows": [1]},
    {"step": 20, "epoch": 2.0, "seconds": 2.0, "train_loss": 0.3, "images_per_second": 1280.0},
    {"step": 20, "epoch": 2.0, "seconds": 2.0, "val_loss": 0.4, "val_accuracy": 0.5, "best": False},
]
NOTES = [
    "note: class '\\x1b[31mcat[/red]' has 3 images",
    "note: step 15 was not applied: its loss was nan (sample rows 1)",
]


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("NO_COLOR", "CI", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    streams = sys.stdout, sys.stderr
    yield
    assert (sys.stdout, sys.stderr) == streams


def play(display: Any) -> None:
    for event in EVENTS[:3]:
        display.record(event)
    display.start(FACTS)
    for event in EVENTS[3:]:
        display.record(event)
    display.close()
    display.close()  # the command and the run may both close it


def test_line_display_writes_a_line_for_each_epoch_and_note() -> None:
    stream = io.StringIO()
    play(LineDisplay(stream))
    assert stream.getvalue().splitlines() == [
        "reading images: 0 of 9",
        "reading images: 9 of 9",
        "digits: 1,340 train, 150 val images in 10 classes",
        "[bold]residual[/bold]: 272,474 parameters, on cpu in fp32",
        "2 epochs, 20 steps of 128 images, in runs/digits-001",
        NOTES[0],
        "epoch 1/2  loss 0.5000  val loss 0.4000  val accuracy 75.00 % (best)  "
        "1,280 images/s  1.0 s left",
        NOTES[1],
        "epoch 2/2  loss 0.3000  val loss 0.4000  val accuracy 50.00 %  1,280 images/s",
    ]


def test_silent_shows_notes_and_nothing_else() -> None:
    stream = io.StringIO()
    play(Silent(stream))
    assert stream.getvalue().splitlines() == NOTES


def test_only_silent_leaves_out_notes_on_choices() -> None:
    shown = []
    for make in (Silent, LineDisplay):
        stream = io.StringIO()
        display = make(stream)
        display.record(Choice("a narrow net"))
        display.record(Note("a class has one image"))
        shown.append(stream.getvalue().splitlines())
    assert shown[0] == ["note: a class has one image"]
    assert shown[1] == ["note: a narrow net", "note: a class has one image"]


@pytest.mark.parametrize("width", [20, 50, 80, 200])
def test_live_display_fits_the_width_of_the_terminal(width: int) -> None:
    stream = Terminal()
    console = Console(file=stream, force_terminal=True, width=width, height=24, highlight=False)
    display = LiveDisplay(stream, console)
    display.start(FACTS)
    for event in EVENTS:
        display.record(event)
    with console.capture() as captured:
        console.print(display.view())
    display.close()
    shown = [Text.from_ansi(line).plain for line in captured.get().splitlines()]
    assert len(shown) > 6
    assert max(map(len, shown)) <= width


def test_live_display_shows_the_run_and_marks_the_best_epoch() -> None:
    stream = Terminal()
    console = Console(file=io.StringIO(), width=100, height=30)
    display = LiveDisplay(stream, console)
    display.progress.start(FACTS)
    for event in EVENTS:
        display.progress.record(event)
    with console.capture() as captured:
        console.print(display.view())
    shown = captured.get()
    assert "[bold]residual[/bold]: 272,474 parameters" in shown
    best, last = (line for line in shown.splitlines() if line.rstrip().endswith(("best", "1,280")))
    assert best.split() == ["1", "0.5000", "0.4000", "75.00", "%", "1,280", "best"]
    assert last.split() == ["2", "0.3000", "0.4000", "50.00", "%", "1,280"]
    assert "step 20 of 20 · train loss 0.3000 · best val accuracy 75.00 %" in shown
    assert "100%" in shown


def test_live_display_keeps_the_newest_epochs_on_a_low_terminal() -> None:
    console = Console(file=io.StringIO(), width=100, height=14)
    display = LiveDisplay(Terminal(), console)
    display.progress.start({**FACTS, "epochs": 50.0, "total_steps": 500})
    for epoch in range(1, 41):
        event = {"step": 10 * epoch, "epoch": float(epoch), "seconds": epoch, "val_accuracy": 0.5}
        display.progress.record(event)
    with console.capture() as captured:
        console.print(display.view())
    assert len(captured.get().splitlines()) <= 14
    assert " 40 " in captured.get()
    assert " 30 " not in captured.get()


def test_display_never_raises_when_the_stream_is_gone() -> None:
    for make in (Silent, LineDisplay, LiveDisplay):
        stream = Terminal()
        display = make(stream)
        stream.close()
        play(display)
        assert stream.closed


def test_display_never_raises_over_a_malformed_event() -> None:
    stream = io.StringIO()
    display = LineDisplay(stream)
    display.start({"total_steps": "many"})
    display.record({"step": "x", "seconds": None, "epoch": []})
    display.record({"note": "still here"})
    display.close()
    assert stream.getvalue().splitlines()[-1] == "note: still here"


@pytest.mark.parametrize(
    ("environment", "stream", "quiet", "kind"),
    [
        ({}, Terminal(), False, LiveDisplay),
        ({}, io.StringIO(), False, LineDisplay),
        ({"NO_COLOR": "1"}, Terminal(), False, LineDisplay),
        ({"TERM": "dumb"}, Terminal(), False, LineDisplay),
        ({"CI": "true"}, Terminal(), False, LineDisplay),
        ({}, Terminal(), True, Silent),
    ],
)
def test_make_display_suits_the_terminal(
    environment: dict[str, str],
    stream: Any,
    quiet: bool,
    kind: type,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert type(make_display(quiet=quiet, stream=stream)) is kind


def test_above_gives_whole_lines_and_what_came_after_a_carriage_return() -> None:
    above = Above(io.StringIO())
    print("one\ntw", end="", file=above)
    assert above.take_lines() == ["one"]
    print("o\n 10%\r 90%\nrest", end="", file=above)
    assert above.take_lines() == ["two", " 90%"]
    above.end_line()
    assert above.take_lines() == ["rest"]


def test_above_lets_a_forked_process_print_at_once(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        above = Above(stream)
        child = os.fork()
        if child == 0:
            print("from the child", file=above)
            stream.flush()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert above.take_lines() == []
    assert (tmp_path / "log").read_text() == "from the child\n"


def run_in_terminal(script: str, columns: int, rows: int) -> str:
    """What a script writes to a real pseudo-terminal."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", script])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    seen = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux says EIO when the child is gone
            break
        if not piece:
            break
        seen += piece
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, seen.decode()
    return seen.decode()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_live_display_on_a_real_terminal_keeps_what_others_print() -> None:
    script = textwrap.dedent(
        f"""
        import sys, time
        from torchloupe.display.terminal import LiveDisplay, make_display
        display = make_display(quiet=False)
        assert type(display) is LiveDisplay
        display.start({FACTS!r})
        for event in {EVENTS!r}:
            display.record(event)
            time.sleep(0.1)
        print("[green]from a model[/green]", file=sys.stderr)
        display.close()
        print("after", file=sys.stderr)
        """
    )
    seen = run_in_terminal(script, columns=90, rows=30)
    assert "[green]from a model[/green]" in seen
    assert "\\x1b[31mcat[/red]" in seen
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") == 1  # the cursor came back
    assert seen.rstrip().endswith("after")
