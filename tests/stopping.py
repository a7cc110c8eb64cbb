"""A listener that stops the training of its own process, as a scheduler or Ctrl-C would."""

import os
import signal
from collections.abc import Mapping
from typing import Any


class StopAt:
    """Sends this process SIGTERM at the first log line of each of some steps, or after it."""

    def __init__(self, *steps: int) -> None:
        self.steps = list(steps)

    def start(self, facts: Mapping[str, Any]) -> None:
        """Nothing is noted."""

    def record(self, event: Mapping[str, Any]) -> None:
        """Stop if this is the line of the next of the steps."""
        if "train_loss" in event and self.steps and event["step"] >= self.steps[0]:
            self.steps.pop(0)
            os.kill(os.getpid(), signal.SIGTERM)

    def close(self) -> None:
        """Nothing is held."""
