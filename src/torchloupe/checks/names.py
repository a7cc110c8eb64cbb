"""The names of all verdicts, each with what it says and what its check costs.

A name is stable: users put it into check.ignore, and docs/checks has a page for each.
"""

from collections.abc import Iterable, Mapping

from torchloupe.errors import UsageError, did_you_mean, printable

# What a check takes; "free": it reads what is there anyway.
LABELS = "milliseconds: labels and splits alone"

DATA: Mapping[str, tuple[str, str]] = {
    "class-never-tested": ("a class has no image in the test split", LABELS),
}
NAMES: Mapping[str, tuple[str, str]] = {**DATA}


def refuse_unknown_names(ignored: Iterable[str]) -> None:
    """UsageError for a name in check.ignore that is no verdict's."""
    for name in ignored:
        if name not in NAMES:
            raise UsageError(
                f"check.ignore names {printable(name)!r}, and no verdict has that name",
                did_you_mean(name, NAMES, "docs/checks/index.md lists them all"),
            )
