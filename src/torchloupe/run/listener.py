"""The protocol of displays and trackers that follow a run."""

from collections.abc import Mapping
from typing import Any, Protocol


class Listener(Protocol):
    """A display or tracker that follows a run. Calls come from the training thread."""

    def start(self, facts: Mapping[str, Any]) -> None:
        """Called once, before the first step, with what is known of the run."""

    def record(self, event: Mapping[str, Any]) -> None:
        """Called with each event: an object of events.jsonl, `{"note": ...}` or a phase."""

    def close(self) -> None:
        """Called once, whatever happened."""
