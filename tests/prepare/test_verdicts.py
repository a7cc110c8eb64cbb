"""Verdicts on a run before it begins: what strict refuses, and who hears of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from torchloupe.config.schema import CheckConfig
from torchloupe.config.settings import Settings
from torchloupe.errors import UsageError, VerdictError
from torchloupe.prepare.verdicts import judge, refuse
from torchloupe.run.events import Event, Verdict

pytestmark = pytest.mark.usefixtures("own_cache")


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


def test_digits_have_nothing_to_tell() -> None:
    assert judge(Settings(), "digits", []) == []


def test_strict_refuses_an_error_and_the_listeners_hear_of_all() -> None:
    error = Verdict("a-b", "error", seen="something", remedy="mend it")
    note = Verdict("c-d", "note", seen="something else", remedy="look")
    heard = Heard()
    refuse([error, note], CheckConfig(), [heard])
    assert heard.events == []
    with pytest.raises(VerdictError):
        refuse([error, note], CheckConfig(level="strict"), [heard])
    assert heard.events == [error, note]


def test_a_name_that_no_verdict_has_is_refused_before_data_are_read(tmp_path: Path) -> None:
    settings = Settings().with_typed({"check.ignore": ["clas-never-tested"]})
    with pytest.raises(UsageError, match="did you mean 'class-never-tested'"):
        judge(settings, tmp_path / "nowhere", [])
