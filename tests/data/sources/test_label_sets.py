"""Lists of class names or numbers are several labels an image, in pairs, frames and arrays."""

import numpy as np
import pytest
import torch
from PIL import Image

from torchloupe.data.sources import open_data
from torchloupe.data.sources.label_sets import holds_lists, label_sets, read_sets
from torchloupe.errors import DataError, UsageError

NAMES = [["a"], ["a", "b"], ["c"], []]
NUMBERS = [[0], [0, 1], [2], []]
ROWS = [[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]]
NOTE = "labels in lists hold several labels: this is multi-label, 3 labels"


@pytest.fixture
def paths(tmp_path):
    found = [str(tmp_path / f"{k}.png") for k in range(4)]
    for k, path in enumerate(found):
        Image.new("L", (4, 4), k).save(path)
    return found


def pairs(paths, labels):
    return list(zip(paths, labels, strict=True))


def dicts(paths, labels):
    return [{"image": p, "label": found} for p, found in zip(paths, labels, strict=True)]


def frame(paths, labels):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"path": paths, "label": labels})


def columns(paths, labels):
    pandas = pytest.importorskip("pandas")
    return pandas.Series(paths), pandas.Series(labels)


def arrays(paths, labels):
    return np.zeros((len(paths), 4, 4), np.uint8), labels


FORMS = [lambda *both: both, pairs, dicts, frame, columns, arrays,
         lambda *both: {"images": both[0], "labels": both[1]}]  # fmt: skip


@pytest.mark.parametrize("make", FORMS)
@pytest.mark.parametrize("labels", [NAMES, NUMBERS])
def test_lists_of_labels_are_several_an_image(paths, make, labels):
    data = open_data(make(paths, labels))
    assert data.samples.labels.dtype == np.float32
    assert data.samples.labels.tolist() == ROWS
    assert data.samples.class_names == (tuple("abc") if labels is NAMES else ("0", "1", "2"))
    assert data.notes == (NOTE,)


@pytest.mark.parametrize(
    "labels",
    [
        [tuple(own) for own in NAMES],
        [set(own) for own in NAMES],
        [np.array(own, dtype=np.dtypes.StringDType()) for own in NAMES],
        [[name.encode() for name in own] for own in NAMES],
        ["a", ["a", "b"], "c", []],
    ],
)
def test_lists_may_be_of_many_kinds(paths, labels):
    data = open_data((paths, labels))
    assert data.samples.class_names == ("a", "b", "c")
    assert data.samples.labels.tolist() == ROWS


@pytest.mark.parametrize("labels", [[["b"], ["a"], ["b"], ["a"]], [[1], [0], [1], [0]]])
@pytest.mark.parametrize("make", FORMS)
def test_a_single_label_each_is_a_class_number(paths, make, labels):
    data = open_data(make(paths, labels))
    assert data.samples.labels.tolist() == [1, 0, 1, 0]
    assert data.notes == ()


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ([[1, 0], [0, 1], [1, 0], [0, 1]], [0, 1, 0, 1]),
        ([[0, 1], [0, 1], [0, 1], [0, 1]], [1, 1, 1, 1]),
        ([[1, 1], [0, 1], [1, 0], [0, 0]], [[1, 1], [0, 1], [1, 0], [0, 0]]),
        (torch.tensor([[1, 0], [0, 1], [1, 0], [0, 1]]), [0, 1, 0, 1]),
    ],
)
@pytest.mark.parametrize("names", [(), ("a", "b")])
def test_rows_of_0_and_1_stay_what_they_are(paths, labels, wanted, names):
    assert open_data((paths, labels), class_names=names).samples.labels.tolist() == wanted


def test_splits_have_the_same_classes(paths):
    data = open_data(((paths, NAMES), (paths[:2], [["c"], ["a"]])))
    assert data.samples.labels.tolist() == [*ROWS, [0, 0, 1], [1, 0, 0]]
    assert data.given.tolist() == [0] * 4 + [1] * 2


def test_class_names_order_and_name_the_classes(paths):
    data = open_data((paths, NAMES), class_names=("c", "b", "a"))
    assert data.samples.labels.tolist() == [row[::-1] for row in ROWS]
    data = open_data((paths, NUMBERS), class_names=("x", "y", "z", "w"))
    assert data.samples.class_names == ("x", "y", "z", "w")
    assert data.samples.labels.tolist() == [[*row, 0] for row in ROWS]
    with pytest.raises(UsageError, match=r"data\.class_names lacks 'c'"):
        open_data((paths, NAMES), class_names=("a", "b"))


@pytest.mark.parametrize(
    ("labels", "is_sure", "sets"),
    [
        ([[0, 2], [1, 2]], False, None),
        ([[2, 0], [1, 2]], False, None),
        ([[2, 0], [1, 2]], True, [["2", "0"], ["1", "2"]]),
        ([[2, 2], [1, 2]], True, None),
        ([[9, 3, 5, 6], [1, 2, 8, 4]], False, None),
        ([[0.5, 0.5], [1.0]], False, None),
        ([["a"], [1, 2]], False, None),
        ([[True, False], [True]], False, None),
        ([[], []], False, None),
        ([["a", "a"], ["b"]], False, [["a"], ["b"]]),
    ],
)
def test_which_lists_are_labels(labels, is_sure, sets):
    assert read_sets(labels, is_sure) == sets


def test_labels_that_are_none_are_refused(paths):
    with pytest.raises(DataError, match="row 1 has the label -1, below 0"):
        open_data((paths, [[0], [0, -1], [1], [0]]))
    with pytest.raises(DataError, match="row 0 has a label that is empty"):
        label_sets([["a", ""], ["b"]])


def test_arrays_of_numbers_hold_no_lists():
    for values in (np.eye(2), torch.eye(2), [1, 2], ["a"], np.array(["a", "b"])):
        assert not holds_lists(values)
    for values in (NAMES, np.array([["a", "b"]]), [np.array([1, 2])]):
        assert holds_lists(values)
