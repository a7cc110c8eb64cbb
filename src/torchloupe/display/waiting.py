"""One line on a terminal that says what is being loaded, until there is something else to show.

PyTorch alone takes seconds to import. The line goes to stderr, only if that is a terminal, and
is cleared by the first text that anything writes.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from torchloupe.errors import printable

_CLEAR = "\r\x1b[K"
_FEWEST_COLUMNS, _USUAL_COLUMNS = 10, 80


class WaitingLine:
    """The line on `stream`; it is the width of the terminal at most."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_shown = False
        self._owner = os.getpid()

    def say(self, text: str) -> None:
        """Show `text` instead of what the line says now."""
        line = f"{printable(text, limit=500)} ..."
        with contextlib.suppress(OSError, ValueError):  # a closed terminal is no error here
            columns = os.get_terminal_size(self._stream.fileno()).columns
            width = max(columns or _USUAL_COLUMNS, _FEWEST_COLUMNS) - 1
            line = line if len(line) <= width else f"{line[: width - 3].rstrip(' .')}..."
            # The cursor goes back to the start, so that native code writes over the line.
            self._stream.write(f"{_CLEAR}{line}\r")
            self._stream.flush()
            self._is_shown = True

    def clear(self) -> None:
        """Remove the line, if it is shown by this process."""
        if self._is_shown and os.getpid() == self._owner:
            self._is_shown = False
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(_CLEAR)
                self._stream.flush()


class NoLine(WaitingLine):
    """A line that is never shown: stderr is not a terminal, or `--quiet` was given."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def say(self, text: str) -> None:
        """Show nothing."""


class _ClearingStream:
    """A stream that removes the line before anything is written to it."""

    def __init__(self, stream: TextIO, line: WaitingLine) -> None:
        self._stream = stream
        self._line = line

    def write(self, text: str) -> int:
        self._line.clear()
        return self._stream.write(text)

    def writelines(self, lines: Any) -> None:
        self._line.clear()
        self._stream.writelines(lines)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def waiting_line(*, quiet: bool = False) -> Iterator[WaitingLine]:
    """A context in which a line on stderr can say what is being loaded; it is gone at the end."""
    stream = sys.stderr
    is_terminal = stream is not None and not stream.closed and stream.isatty()
    if quiet or not is_terminal or os.environ.get("TERM") == "dumb":
        yield NoLine()
        return
    line = WaitingLine(stream)
    clearing: Any = _ClearingStream(stream, line)
    sys.stderr = clearing
    try:
        yield line
    finally:
        line.clear()
        if sys.stderr is clearing:
            sys.stderr = stream
