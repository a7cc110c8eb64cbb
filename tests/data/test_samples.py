"""The table of samples: keys, rows, counts, and a fingerprint that no order changes."""

import numpy as np
import pytest

from torchloupe.data.samples import Samples, make_ids

ONE = Samples(make_ids(["a/1", "a/2", "b/1"]), np.array([0, 0, 1]), ("a", "b"))
SEVERAL = Samples(make_ids(range(2)), np.array([[1, 0], [1, 1]], np.float32), ("a", "b"))


def test_rows_are_taken_in_the_order_asked_for_with_their_keys() -> None:
    some = ONE.take(np.array([2, 0]))
    assert some.ids.tolist() == ["b/1", "a/1"]
    assert some.labels.tolist() == [1, 0]
    assert some.keys.tolist() == [int(ONE.keys[2]), int(ONE.keys[0])]
    assert (len(some), some.class_names) == (2, ("a", "b"))


def test_groups_go_with_their_rows() -> None:
    grouped = Samples(ONE.ids, ONE.labels, ONE.class_names, groups=np.array([5, 6, 7]))
    taken = grouped.take(np.array([1]))
    assert taken.groups is not None and taken.groups.tolist() == [6]


def test_classes_are_counted_also_those_without_a_sample() -> None:
    wider = Samples(ONE.ids, ONE.labels, ("a", "b", "c"))
    assert wider.class_counts().tolist() == [2, 1, 0]
    assert wider.class_counts(np.array([2])).tolist() == [0, 1, 0]
    assert (SEVERAL.is_multi_label, ONE.is_multi_label) == (True, False)
    assert SEVERAL.class_counts().tolist() == [2, 1]


def test_ids_of_a_range_are_row_numbers() -> None:
    assert make_ids(range(3)).tolist() == ["0", "1", "2"]


def test_fingerprint_is_the_same_in_any_order() -> None:
    content = np.array([7, 8, 9], np.uint64)
    order = np.array([2, 0, 1])
    assert ONE.take(order).fingerprint(content[order]) == ONE.fingerprint(content)


@pytest.mark.parametrize(
    "other",
    [
        Samples(make_ids(["a/1", "a/2", "b/2"]), ONE.labels, ONE.class_names),
        Samples(ONE.ids, np.array([0, 1, 1]), ONE.class_names),
        Samples(ONE.ids, ONE.labels, ("a", "c")),
    ],
    ids=["id", "label", "class name"],
)
def test_fingerprint_tells_every_change(other: Samples) -> None:
    assert other.fingerprint() != ONE.fingerprint()
    assert ONE.fingerprint(np.array([1, 2, 3], np.uint64)) != ONE.fingerprint()
