"""What follows a run: the protocol of displays and trackers."""

from collections.abc import Mapping
from typing import Any, Protocol


class Listener(Protocol):
    """Whoever follows a run: a display, a tracker. Calls come from the training thread."""

    def start(self, facts: Mapping[str, Any]) -> None:
        """Called once, before the first step, with what is known of the run."""

    def record(self, event: Mapping[str, Any]) -> None:
        """Called with each event: an object of events.jsonl, `{"note": ...}` or a phase."""

    def close(self) -> None:
        """Called once, whatever happened."""
