"""Label columns that hold a quantity, such as an age or a price, and no class.

Numbers with fractions are refused. Whole numbers may be classes: a note says where a name or the
numbers themselves speak against it.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.sources.column_roles import plain_name
from torchloupe.errors import DataError, printable

_FRACTION = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d{1,15}")
_MOST_RATINGS = 16  # different numbers with fractions that may be classes, such as 0.5 to 5 stars
_MOST_GRADES = 12  # different whole numbers of a score that may be classes, such as 0 to 10
_MANY = 30  # different numbers of a column whose name says nothing
_DISTINCT, _FEWEST_CELLS = 0.9, 20  # share of rows with a label of their own; rows
_RANGES = "torchloupe trains classifiers: write a class for each range of numbers into a column"
# The last word of a name that says how much.
_AMOUNTS = frozenset(
    (
        *("age", "ages", "boneage", "price", "prices", "cost", "income", "salary", "amount"),
        *("score", "scores", "rating", "ratings", "popularity", "points", "percent", "percentage"),
        *("weight", "height", "width", "length", "size", "area", "volume", "depth", "distance"),
        *("angle", "speed", "temperature", "humidity", "duration", "mass", "bmi", "count"),
        *("counts", "quantity", "year", "years", "months", "days", "hours", "minutes", "seconds"),
        *("alter", "preis", "gewicht", "edad", "precio", "peso", "idade"),
    )
)
_CLASSES = frozenset(("class", "classes", "category", "id", "idx", "index", "code", "species"))


def refuse_quantities(values: Sequence[str], count: int, column: str, shown: str) -> None:
    """DataError where labels are many different numbers with fractions: a quantity, no class."""
    if len(values) < max(_MOST_RATINGS, count / 4) or not all(map(_FRACTION.fullmatch, values)):
        return
    if all(float(value).is_integer() for value in values):
        return
    raise DataError(
        f"{shown}: column {printable(column)!r} holds {len(values):,} different numbers such as "
        f"{printable(values[0])}: a quantity, not a class",
        f"{_RANGES}, or name another one: data.label_column=NAME",
    )


def note_distinct(values: Sequence[str], count: int, column: str) -> tuple[str, ...]:
    """A note on labels that are nearly all different, such as captions and ids."""
    if count < _FEWEST_CELLS or len(values) < _DISTINCT * count:
        return ()
    return (
        f"column {printable(column)!r} holds {len(values):,} different cells in {count:,} rows, so "
        "that nearly each image is a class of its own: data.label_column=NAME names another",
    )


def note_quantity(values: Sequence[str], counts: NDArray[Any], column: str) -> tuple[str, ...]:
    """A note on labels that are whole numbers and look like a quantity.

    Distinct `values` occur `counts` times. A name such as age says so; else numbers below 0, or
    with gaps and mostly alone, as no list of classes is numbered.
    """
    if len(values) <= _MOST_GRADES or not all(map(_WHOLE.fullmatch, values)):
        return ()
    words = plain_name(column).split("_")
    numbers = np.array([int(value) for value in values])
    lowest, highest = int(numbers.min()), int(numbers.max())
    is_named = words[-1] in _AMOUNTS
    is_scattered = len(values) >= _MANY and bool(
        (highest - lowest + 1 > 1.5 * len(values)) & (np.median(counts) <= 2)
    )
    is_odd = not set(words) & _CLASSES and (lowest < -1 or is_scattered)
    if not is_named and not is_odd:
        return ()
    return (
        f"column {printable(column)!r} holds {len(values):,} different numbers from {lowest:,} to "
        f"{highest:,}, and each is a class: if it is a quantity, {_RANGES.partition(': ')[2]}",
    )
