"""Room in memory for large images: how many of them are decoded at once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Room:
    """Images are decoded at once while they have at most `most` pixels together; one always is."""

    def __init__(self, most: int) -> None:
        self._free = self._most = most
        self._changed = threading.Condition()

    @contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for an image of so many pixels, and hold it."""
        share = min(pixels, self._most)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= share)
            self._free -= share
        try:
            yield
        finally:
            with self._changed:
                self._free += share
                self._changed.notify_all()
