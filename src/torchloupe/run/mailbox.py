"""Messages to a running training: files in its run folder, read between two steps.

No socket and no signal: whoever may write into the folder may tell the run. A message is one file,
written under another name and renamed, so that it is never read by half.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from torchloupe.errors import ResourceError, UsageError, printable

PREFIX = ".tell-"
READ_SECONDS = 0.2  # between two looks at the folder; each takes a microsecond
_CLOCK_NS = 10**8  # so exact, at least, is the clock of a file system
MOST_BYTES = 100


class Mailbox:
    """The messages to the run in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._next = 0.0
        self._seen = 0

    def read(self) -> list[str]:
        """The messages since the last call, oldest first; each is removed. Cheap to ask often."""
        now = time.monotonic()
        if now < self._next:
            return []
        self._next = now + READ_SECONDS
        with suppress(OSError):
            changed = os.stat(self._folder).st_mtime_ns  # noqa: PTH116 - twice as fast
            if changed != self._seen:
                found = self._take()
                # What comes within the same tick of that clock does not change the time again.
                is_past = time.time_ns() - changed > _CLOCK_NS
                self._seen = changed if is_past and not found else 0
                return found
        return []

    def clear(self) -> None:
        """Remove messages that nobody read."""
        with suppress(OSError):
            self._take()

    def _take(self) -> list[str]:
        found = []
        for path in sorted(self._folder.glob(f"{PREFIX}*")):
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    found.append(file.read(MOST_BYTES).decode("utf-8", "replace"))
            path.unlink(missing_ok=True)
        return found


def send(folder: Path, message: str) -> None:
    """Leave a message for the process that trains in `folder`.

    Raises UsageError where there is none, ResourceError where nothing can be written.
    """
    require_running(folder)
    name = f"{time.time_ns():020d}-{os.getpid()}"
    beside = folder / f".writing-{name}"
    try:
        beside.write_text(message, encoding="utf-8")
        beside.rename(folder / f"{PREFIX}{name}")
    except OSError as error:
        raise ResourceError(
            f"can't write in {printable(folder)}: {error.strerror or error}",
            "tell the run as the user who started it",
        ) from None


def require_running(folder: Path) -> None:
    """UsageError where no process trains in `folder`."""
    if not is_running(folder):
        finished = (folder / "metrics.json").is_file()
        raise UsageError(
            f"no process trains in {printable(folder)}" + "; it is finished" * finished,
            f"loupe resume {printable(folder)}{' --epochs N' * finished} goes on with it",
        )


def is_running(folder: Path) -> bool:
    """Whether a process works on this run folder: it holds the lock."""
    path = folder / ".lock"
    if not path.exists() or path.is_symlink():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return False
    path.unlink(missing_ok=True)
    lock.release()
    return False
