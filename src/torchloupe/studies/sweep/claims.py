"""Who works on what: locks in the folder of a sweep that are free once their process is dead.

All workers of a sweep see its folder, on one machine or through a shared file system.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from torchloupe.errors import ResourceError, printable

LOCKS = ".locks"


class Claims:
    """The locks of one sweep."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / LOCKS
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise ResourceError(
                f"can't write in {printable(folder)}: {error.strerror or error}",
                "a sweep goes on where its folder can be written",
            ) from error

    def take(self, name: str) -> FileLock | None:
        """The lock of one piece of work, held until it is released; None if another has it."""
        lock = FileLock(self.folder / name)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return lock

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A context that one worker at a time can be in: where work is handed out."""
        with FileLock(self.folder / "next"):
            yield

    def clear(self) -> None:
        """Remove the locks of a sweep that has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)
