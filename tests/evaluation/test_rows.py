"""Rows put on one another in one block of memory."""

import numpy as np
import pytest

from torchloupe.evaluation.rows import RowBuffer


@pytest.mark.parametrize("room", [1, 4, 100])
def test_rows_come_back_in_order_whatever_the_room(room: int) -> None:
    rows, buffer = np.arange(33 * 3, dtype=np.float32).reshape(33, 3), RowBuffer(room)
    for start, end in ((0, 1), (1, 8), (8, 8), (8, 30), (30, 33)):
        buffer.add(rows[start:end])
    assert buffer.array().dtype == np.float32
    assert np.array_equal(buffer.array(), rows)


def test_nothing_added_is_an_empty_array() -> None:
    assert RowBuffer().array().shape == (0,)


def test_rows_are_copied() -> None:
    rows, buffer = np.zeros(3), RowBuffer(4)
    buffer.add(rows)
    rows[:] = 9
    assert buffer.array().tolist() == [0, 0, 0]
