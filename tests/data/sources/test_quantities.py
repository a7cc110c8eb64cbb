"""Label columns of numbers: a quantity is named, class numbers are not."""

import numpy as np
import pytest

from torchloupe.data.sources.quantities import note_distinct, note_quantity


def count(labels):
    found, counts = np.unique(np.asarray(labels), return_counts=True)
    return [str(value) for value in found], counts


RNG = np.random.default_rng(0)
AGES = RNG.integers(1, 90, 300)
PRICES = RNG.integers(5, 5000, 200)


@pytest.mark.parametrize(
    ("column", "numbers"),
    [
        ("age", AGES),
        ("Bone Age", AGES),
        ("score", np.arange(200) % 101),
        ("target", PRICES),
        ("label", PRICES),
        ("y", RNG.integers(-40, 41, 500)),
    ],
)
def test_quantities_are_named(column, numbers):
    values, counts = count(numbers)
    (note,) = note_quantity(values, counts, column)
    assert note == (
        f"column '{column}' holds {len(values):,} different numbers from {min(numbers):,} to "
        f"{max(numbers):,}, and each is a class: if it is a quantity, write a class for each range "
        "of numbers into a column"
    )


@pytest.mark.parametrize(
    ("column", "numbers"),
    [
        ("label", np.arange(1000) % 100),
        ("label", RNG.integers(0, 1000, 5000)),
        ("label", np.arange(1, 103)),
        ("class", RNG.integers(0, 10**6, 200)),
        ("landmark_id", RNG.integers(0, 10**6, 200)),
        ("label", np.arange(80) % 20 * 5),
        ("label", RNG.choice([-1, 0, 1], 50)),
        ("rating", np.arange(60) % 10 + 1),
        ("age_group", np.arange(60) % 15),
        ("label", np.repeat(RNG.choice(1000, 50, replace=False), 8)),
    ],
)
def test_class_numbers_are_not(column, numbers):
    assert note_quantity(*count(numbers), column) == ()


def test_names_are_no_quantities():
    assert note_quantity([f"n{k}" for k in range(50)], np.ones(50), "age") == ()


def test_labels_that_are_nearly_all_different_are_named():
    captions = [f"a photo of number {k}" for k in range(30)]
    (note,) = note_distinct(captions, 32, "caption")
    assert note == (
        "column 'caption' holds 30 different cells in 32 rows, so that nearly each image is a "
        "class of its own: data.label_column=NAME names another"
    )
    assert note_distinct(captions, 60, "caption") == ()
    assert note_distinct(captions[:10], 10, "caption") == ()
