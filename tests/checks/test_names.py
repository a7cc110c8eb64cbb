"""Names of verdicts are stable and can be typed."""

import re

from torchloupe.checks.names import NAMES


def test_names_are_words_with_hyphens() -> None:
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", name) for name in NAMES)


def test_each_name_has_its_meaning_and_its_cost() -> None:
    assert all(meaning and cost for meaning, cost in NAMES.values())
