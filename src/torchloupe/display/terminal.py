"""The display of a running training: a live view, plain lines, or warnings only.

All of it goes to stderr. Names from files and class folders are shown as text, never interpreted
as markup or control codes. A display never raises into training: its errors are dropped.
"""

import contextlib
import functools
import io
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from torchloupe.display.progress import (
    Progress,
    Row,
    describe_facts,
    describe_row,
    describe_trouble,
    format_fraction,
    format_loss,
)
from torchloupe.errors import printable
from torchloupe.run.events import Choice
from torchloupe.units import format_count, format_seconds

if TYPE_CHECKING:
    from torchloupe.run.listener import Listener

_WIDEST = 100
_NARROW = 64
_REFRESH_SECONDS = 0.2
_PHASE_LINE_SECONDS = 10.0
Method = TypeVar("Method", bound=Callable[..., None])


def make_display(*, quiet: bool, stream: TextIO | None = None) -> "Listener":
    """The display that suits the terminal behind `stream` (stderr by default)."""
    stream = stream or sys.stderr
    if quiet or stream is None:
        return Silent(stream)
    plain = os.environ.get("TERM") == "dumb" or any(map(os.environ.get, ("NO_COLOR", "CI")))
    return LineDisplay(stream) if plain or not stream.isatty() else LiveDisplay(stream)


def _never_raise(method: Method) -> Method:
    """`method` with its errors dropped: a closed terminal must not end a run."""

    @functools.wraps(method)
    def quietly(*arguments: Any) -> None:
        with contextlib.suppress(Exception):
            method(*arguments)

    return quietly  # type: ignore[return-value]


class Silent:
    """`--quiet`: warnings and notes only, but none on choices."""

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream

    def start(self, facts: Mapping[str, Any]) -> None:
        """Show nothing: warnings come as notes."""

    @_never_raise
    def record(self, event: Mapping[str, Any]) -> None:
        """Show a note, a verdict or a bad step."""
        if not isinstance(event, Choice):
            self._trouble(event)

    def close(self) -> None:
        """There is nothing to close."""

    def _trouble(self, event: Mapping[str, Any]) -> None:
        if trouble := describe_trouble(event):
            self._line(trouble)

    def _line(self, text: str) -> None:
        if self.stream is not None:
            self.stream.write(text + "\n")
            self.stream.flush()


class LineDisplay(Silent):
    """Plain text, a line for each epoch and note, for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.progress = Progress()
        self._phase_line_due = 0.0

    @_never_raise
    def start(self, facts: Mapping[str, Any]) -> None:
        """Show the head of the run."""
        self.progress.start(facts)
        for line in describe_facts(facts):
            self._line(line)

    @_never_raise
    def record(self, event: Mapping[str, Any]) -> None:
        """Show the line of an epoch that this event completes, a note or a phase."""
        self._trouble(event)
        if "about" in event:
            self._line(printable(event["about"], limit=1000))
        for row in self.progress.record(event):
            self._line(describe_row(row, self.progress))
        if "phase" in event and self.progress.phase:
            words, done, total = self.progress.phase
            now = time.monotonic()
            if now >= self._phase_line_due or done == total:
                self._phase_line_due = now + _PHASE_LINE_SECONDS
                self._line(f"{words}: {done:,} of {total:,}")

    @_never_raise
    def close(self) -> None:
        """Show the line of a last epoch that had no evaluation."""
        for row in self.progress.finish_epoch():
            self._line(describe_row(row, self.progress))


class LiveDisplay:
    """A view that is redrawn in place; text that anything else prints appears above it."""

    def __init__(self, stream: TextIO, console: Console | None = None) -> None:
        self.progress = Progress()
        self.console = console or Console(file=stream, highlight=False, emoji=False)
        self._stream = stream
        self._above = Above(stream)
        self._live = Live(
            console=self.console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            get_renderable=self.view,
        )
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._streams = (sys.stdout, sys.stderr)

    @_never_raise
    def start(self, facts: Mapping[str, Any]) -> None:
        """Draw the head of the run."""
        self.progress.start(facts)
        self._open()

    @_never_raise
    def record(self, event: Mapping[str, Any]) -> None:
        """Process the event; the view is redrawn within a fifth of a second."""
        self.progress.record(event)
        trouble = describe_trouble(event)
        if trouble:
            self._above.say(trouble)
        if "about" in event:
            self._above.say(printable(event["about"], limit=1000))
        self._open()

    @_never_raise
    def close(self) -> None:
        """Leave the last view on the terminal and restore the streams."""
        self._done.set()
        sys.stdout, sys.stderr = self._streams
        if self._thread is not None:
            self._thread.join(timeout=5)
            self.progress.finish_epoch()
            self._above.end_line()
            self._redraw()
            self._live.stop()
            self.console.print()  # the result follows
            self._thread = None

    def _open(self) -> None:
        """Start drawing at the first event (images are decoded before the run starts)."""
        if self._thread is not None or self._done.is_set():
            return
        self._streams = (sys.stdout, sys.stderr)
        if sys.stdout is self._stream:  # the command redirects stdout to stderr
            sys.stdout = self._above
        sys.stderr = self._above
        self._live.start()
        self._thread = threading.Thread(
            target=self._keep_drawing, name="loupe-display", daemon=True
        )
        self._thread.start()

    def _keep_drawing(self) -> None:
        while not self._done.wait(_REFRESH_SECONDS):
            self._redraw()

    @_never_raise
    def _redraw(self) -> None:
        for line in self._above.take_lines():
            self.console.print(Text.from_ansi(line))
        self._live.refresh()

    def view(self) -> RenderableType:
        """The whole view, for a console of any width."""
        progress, width = self.progress, min(self.console.width, _WIDEST)
        parts: list[RenderableType] = []
        head = describe_facts(progress.facts)
        if head:
            lines = Text("\n".join(head))
            parts.append(Panel(lines, title="torchloupe", title_align="left", width=width))
        height = max(3, self.console.height - 10)
        if progress.rows:
            parts.append(_past(progress.rows[-height:], narrow=width < _NARROW))
        parts.append(_present(progress, width))
        return Group(*parts)


def _past(rows: list[Row], *, narrow: bool) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim", pad_edge=True)
    names = ["epoch", "train loss", "val accuracy", ""]
    if not narrow:
        names[2:2] = ["val loss"]
        names[-1:] = ["images/s", ""]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    best = next((row for row in reversed(rows) if row.is_best), None)
    for row in rows:
        cells = [f"{row.epoch:.4g}", format_loss(row.train_loss), format_fraction(row.val_accuracy)]
        if not narrow:
            cells[2:2] = [format_loss(row.val_loss)]
            cells.append(format_count(row.images_per_second) if row.images_per_second else "-")
        is_best = row is best
        table.add_row(*cells, "best" if is_best else "", style="bold green" if is_best else "")
    return table


def _present(progress: Progress, width: int) -> RenderableType:
    """A progress bar and, below it, as many facts as fit in `width`."""
    if progress.phase:
        words, done, total = progress.phase
        bar = ProgressBar(total=max(total, 1), completed=done, width=max(8, width - 48))
        label = Text(f" {words} ", no_wrap=True)
        return _in_line(label, bar, Text(f" {done:,} of {total:,}"))
    if not progress.facts:
        return Text("")
    epochs = progress.facts.get("epochs")
    now = min(progress.epoch, epochs) if epochs else progress.epoch
    label = Text(f" epoch {now:.1f}" + (f" of {epochs:.4g} " if epochs else " "))
    left = progress.seconds_left
    share = Text(f" {progress.fraction:4.0%}")
    if left is not None and progress.fraction < 1:
        share.append(f"  {format_seconds(left)} left")
    bar = ProgressBar(
        total=1.0, completed=progress.fraction, width=max(8, width - len(label) - len(share) - 2)
    )
    facts = [f"step {progress.step:,} of {progress.facts.get('total_steps') or 0:,}"]
    if progress.train_loss is not None:
        facts.append(f"train loss {format_loss(progress.train_loss)}")
    if progress.best is not None:
        facts.append(f"best val accuracy {format_fraction(progress.best.val_accuracy)}")
    if progress.images_per_second:
        facts.append(f"{format_count(progress.images_per_second)} images/s")
    while len(facts) > 1 and sum(len(fact) + 3 for fact in facts) > width:
        facts.pop()
    return Group(_in_line(label, bar, share), Text(" " + " · ".join(facts), style="dim"))


def _in_line(*parts: RenderableType) -> Table:
    line = Table.grid()
    for _ in parts:
        line.add_column(no_wrap=True)
    line.add_row(*parts)
    return line


class Above(io.TextIOBase):
    """A stream that keeps what is printed until the next redraw.

    It takes no lock, so that a loader process forked at any moment can still print: in another
    process than the one that created it, text goes straight to the stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._owner = os.getpid()
        self._pieces: deque[str] = deque()
        self._rest = ""

    def write(self, text: str) -> int:
        """Keep `text` until the next redraw."""
        if os.getpid() != self._owner:
            return self._stream.write(text)
        self._pieces.append(text)
        return len(text)

    def say(self, line: str) -> None:
        """Keep a whole line."""
        self._pieces.append(f"\n{line}\n" if self._rest else f"{line}\n")

    def end_line(self) -> None:
        """End an unfinished line: no more text will come."""
        if self._rest or self._pieces:
            self._pieces.append("\n")

    def take_lines(self) -> list[str]:
        """The complete lines since the last call, without text that a carriage return overwrote."""
        while self._pieces:
            self._rest += self._pieces.popleft()
        *lines, self._rest = self._rest.split("\n")
        return [line.rstrip("\r").rpartition("\r")[2] for line in lines]

    def writable(self) -> bool:
        """True: text can be written."""
        return True

    def fileno(self) -> int:
        """The file descriptor of the underlying stream, for child processes."""
        return self._stream.fileno()
