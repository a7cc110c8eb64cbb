"""Requests by signals and the clock: to stop after this step, or to save now.

With several ranks a request takes effect once all have agreed on it, so that all stop together.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType


class StopRequests:
    """The requests to one run. With `save_every_seconds` 0 the clock requests no saves."""

    def __init__(self, save_every_seconds: float = 0.0, ranks: int = 1) -> None:
        self.save_every_seconds = save_every_seconds
        self.received_signal = 0  # by this process
        self.asked_by = ""  # what stood in for a signal
        self._is_alone = ranks == 1
        self._save_asked = False
        self._last_save = time.monotonic()
        self._agreed = [0, 0]

    @property
    def stop_signal(self) -> int:
        """The signal that ends the run at the next step boundary; 0 if there is none."""
        return self.received_signal if self._is_alone else self._agreed[0]

    @property
    def save(self) -> bool:
        """Whether a checkpoint is requested after this step."""
        return bool(self.pending()[1] if self._is_alone else self._agreed[1])

    def pending(self) -> list[int]:
        """The requests to this process, as numbers of which the ranks take the highest."""
        late = 0 < self.save_every_seconds <= time.monotonic() - self._last_save
        return [self.received_signal, int(self._save_asked or late)]

    def agree_on(self, agreed: Sequence[int]) -> None:
        """Make the requests that all ranks agreed on effective."""
        self._agreed = list(agreed)

    def ask_save(self) -> None:
        """Request a checkpoint after this step."""
        self._save_asked = True

    def ask_stop(self, asked_by: str) -> None:
        """Request the end of the run after this step, as SIGTERM does."""
        if not self.received_signal:
            self.received_signal, self.asked_by = int(signal.SIGTERM), asked_by

    def forget_save(self) -> None:
        """A checkpoint was taken."""
        self._last_save = time.monotonic()
        self._save_asked, self._agreed[1] = False, 0

    @contextmanager
    def listening(self, tell: Callable[[str], None]) -> Iterator[None]:
        """A context in which SIGINT or SIGTERM stops the run after the step, a second SIGINT now.

        SIGUSR1 requests a checkpoint. Only the main thread can handle signals; in others this does
        nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        owner = os.getpid()

        def ask(number: int, _frame: FrameType | None) -> None:
            if os.getpid() != owner:
                return  # a loader's worker that was forked from here: its owner ends it
            if number not in (signal.SIGINT, signal.SIGTERM):
                self._save_asked = True
                return
            if self.received_signal == signal.SIGINT == number:
                raise KeyboardInterrupt
            if not self.received_signal:
                self.received_signal = number
                tell("stopping after this step; its checkpoint will be written")

        numbers = [signal.SIGINT, signal.SIGTERM]
        if hasattr(signal, "SIGUSR1"):
            numbers.append(signal.SIGUSR1)
        before = {number: signal.signal(number, ask) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
