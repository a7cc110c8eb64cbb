"""Accuracy by slices."""

import numpy as np

from torchloupe.trained.facts.slices import slice_chart


def test_numbers_are_cut_into_quarters_and_names_are_slices():
    right = np.array([True] * 30 + [False] * 10)
    chart = slice_chart(
        right,
        {"brightness": np.linspace(0, 1, 40), "file type": ["png"] * 30 + ["jpg"] * 10},
    )
    rows = chart["rows"]
    assert [row["count"] for row in rows] == [10, 10, 10, 10, 30, 10]
    assert [row["value"] for row in rows] == [1, 1, 1, 0, 1, 0]
    assert rows[4]["name"] == "png"
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert chart["line"] == 0.75


def test_few_sizes_are_slices_of_their_own_and_unknown_ones_are_left_out():
    right = np.ones(20, dtype=bool)
    sizes = np.array([32.0] * 8 + [64.0] * 8 + [np.nan] * 4)
    rows = slice_chart(right, {"side": sizes})["rows"]
    assert [(row["name"], row["count"]) for row in rows] == [("32", 8), ("64", 8)]


def test_one_slice_says_nothing():
    right = np.ones(20, dtype=bool)
    assert slice_chart(right, {"side": np.full(20, 32.0), "file type": ["png"] * 20}) is None
    assert slice_chart(right, {}) is None
