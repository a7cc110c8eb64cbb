"""Rows of 0 and 1 are class numbers, and several of them where a row has several ones."""

import pytest

from torchloupe.data.sources.flag_rows import read_flag_rows


@pytest.mark.parametrize(
    ("rows", "numbers"),
    [
        ([[1, 0, 0], [0, 0, 1]], [0, 2]),
        ([[1.0, 0.0], [0.0, 1.0]], [0, 1]),
        ([[True, False], [False, True]], [0, 1]),
        ([[1, 0, 1], [0, 1, 0]], [[0, 2], [1]]),
        ([[0, 0], [0, 1]], [[], [1]]),
        ([[1, 0], [1]], None),
        ([[1], [0]], None),
        ([[0.5, 0.5], [1, 0]], None),
        ([[0, 2], [1, 0]], None),
        ([["1", "0"], ["0", "1"]], None),
        ([1, 0], None),
        ([], None),
    ],
)
def test_rows_of_flags(rows, numbers):
    assert read_flag_rows(rows) == numbers
