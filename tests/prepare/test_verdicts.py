"""Verdicts on a run before it begins: what strict refuses, and who hears of it."""

from collections.abc import Mapping
from typing import Any

import pytest

from torchloupe.config.schema import CheckConfig
from torchloupe.errors import VerdictError
from torchloupe.prepare.verdicts import refuse
from torchloupe.run.events import Event, Verdict


class Heard:
    """A listener that keeps the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def start(self, facts: Mapping[str, Any]) -> None:
        pass

    def record(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass


def test_strict_refuses_an_error_and_the_listeners_hear_of_all() -> None:
    error = Verdict("a-b", "error", seen="something", remedy="mend it")
    note = Verdict("c-d", "note", seen="something else", remedy="look")
    heard = Heard()
    refuse([error, note], CheckConfig(), [heard])
    assert heard.events == []
    with pytest.raises(VerdictError):
        refuse([error, note], CheckConfig(level="strict"), [heard])
    assert heard.events == [error, note]
