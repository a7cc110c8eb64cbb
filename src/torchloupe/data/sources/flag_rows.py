"""Rows of 0 and 1, a place for each class: what they say in class numbers."""

from collections.abc import Sequence
from typing import Any


def read_flag_rows(rows: Sequence[Any]) -> list[Any] | None:
    """The class number of each row of 0 and 1, or a list of them where a row has not one 1.

    None where these are no lists of one length, two at least, of 0 and 1 alone.
    """
    if not rows or not all(isinstance(row, list) for row in rows):
        return None
    if len({len(row) for row in rows}) != 1 or len(rows[0]) < 2:
        return None
    if not all(isinstance(one, (int, float)) and one in (0, 1) for row in rows for one in row):
        return None
    found = [[number for number, one in enumerate(row) if one] for row in rows]
    return [numbers[0] for numbers in found] if all(len(n) == 1 for n in found) else found
