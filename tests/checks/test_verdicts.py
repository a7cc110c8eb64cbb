"""What becomes of verdicts: ignored, ordered, refused."""

import pytest

from torchloupe.checks.names import refuse_unknown_names
from torchloupe.checks.verdicts import refuse_errors, sift
from torchloupe.config.schema import CheckConfig
from torchloupe.errors import UsageError, VerdictError
from torchloupe.run.events import Level, Verdict


def verdict(name: str, level: Level, where: str = "") -> Verdict:
    return Verdict(name, level, seen=f"{name} was seen", remedy=f"mend {name}", where=where)


FOUND = [verdict("b", "note"), verdict("a", "error"), verdict("c", "warning"), verdict("b", "note")]


def test_sift_puts_errors_first_and_tells_nothing_twice() -> None:
    assert [v.verdict for v in sift(FOUND, CheckConfig())] == ["a", "c", "b"]
    places = [verdict("b", "note", "fc1"), verdict("b", "note", "fc2")]
    assert len(sift(places, CheckConfig())) == 2


def test_sift_leaves_out_what_is_ignored_and_everything_where_checks_are_off() -> None:
    assert [v.verdict for v in sift(FOUND, CheckConfig(ignore=("a", "b")))] == ["c"]
    assert sift(FOUND, CheckConfig(level="off")) == []


def test_only_strict_refuses_and_only_errors() -> None:
    refuse_errors(FOUND, CheckConfig())
    refuse_errors(FOUND[2:], CheckConfig(level="strict"))
    with pytest.raises(VerdictError) as caught:
        refuse_errors(FOUND, CheckConfig(level="strict"))
    assert caught.value.exit_code == 7
    assert caught.value.message == "a: a was seen"
    assert caught.value.hint == (
        "mend a (check.level=strict ends the run; --set check.ignore=a passes over it)"
    )


def test_an_ignored_name_has_to_exist() -> None:
    refuse_unknown_names(["class-never-tested"])
    with pytest.raises(UsageError, match="did you mean 'class-never-tested'"):
        refuse_unknown_names(["class-never-test"])
