"""Labels that may say that there is none: nan, -1 beside 0 and more, 255 beside small numbers."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from torchloupe.errors import printable

_MISSING = frozenset(("nan", "na", "n/a", "#n/a", "<na>", "null"))  # how programs write no value
_NUMBERS = ("-1", "-100", "255")  # which stand for what is not labelled or left out
_FAR = 128  # classes; where there are as many, 255 is a number like others


def note_missing_labels(values: Sequence[str], counts: NDArray[Any], cells: str) -> tuple[str, ...]:
    """A note where one of the distinct `values`, which occur `counts` times, may be no class.

    `cells` is what a row holds: "cells of column 'label'", or "labels".
    """
    odd = [place for place, value in enumerate(values) if value.lower() in _MISSING]
    rest = {value for value in values if value not in _NUMBERS}
    if "0" in rest and len(rest) > 1 and all(v.isdigit() and len(v) < 4 for v in rest):
        odd += [values.index(value) for value in _NUMBERS if value in values
                and (value != "255" or max(map(int, rest)) < _FAR)]  # fmt: skip
    elif rest >= {"0"} and len(rest) < len(values) and all(map(str.isdigit, rest)):
        odd += [values.index("-1")] if "-1" in values else []
    if not odd:
        return ()
    place = odd[0]
    return (
        f"'{printable(values[place])}' is a class, in {int(counts[place]):,} of the {cells}: if it "
        "says that a label is missing, take these rows out",
    )
