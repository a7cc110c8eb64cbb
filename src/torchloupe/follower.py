"""The run folder as the ranks other than the first see it: they take part, and write nothing."""

from collections.abc import Mapping
from typing import Any

from torchloupe.run import RunFolder
from torchloupe.state import State


class Follower(RunFolder):
    """A RunFolder that leaves the folder to rank 0."""

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was opened."""

    def write_json(self, name: str, content: Any) -> None:
        """Leave it to rank 0."""

    def record(self, event: Mapping[str, Any]) -> None:
        """Leave it to rank 0."""

    def forget_events_after(self, step: int) -> None:
        """Leave it to rank 0."""

    def save(self, state: State) -> None:
        """Hand over this rank's part of a state that is spread over the ranks."""
        state.trees()
        self.wishes.forget_save()
