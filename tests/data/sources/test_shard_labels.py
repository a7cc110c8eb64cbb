"""Labels in `.json` members, single and several, and as they are written."""

from pathlib import Path

import numpy as np
import pytest

from torchloupe.data.sources.shard_labels import (
    read_json_label,
    require_one_place,
    require_plain,
    spread_labels,
    write_json_label,
)
from torchloupe.errors import DataError, UsageError


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"label": 3}', ("label", "3")),
        ('{"Label": "cat "}', ("label", "cat")),
        ('{"cls": 3.0}', ("cls", "3")),
        ('{"caption": "x", "class_name": "dog"}', ("class_name", "dog")),
        ('{"label": null, "class_name": "dog"}', ("class_name", "dog")),
        ('{"labels": ["a", 2]}', ("labels", "\x1fa\x1f2")),
        ('{"labels": []}', ("labels", "\x1f")),
        ("7", ("", "7")),
        ('"dog"', ("", "dog")),
        ('{"label": 0.5}', None),
        ('{"label": ""}', None),
        ('{"label": true}', None),
        ('{"caption": "x"}', None),
        ("[1, 2]", None),
        ("no json", None),
    ],
)
def test_labels_of_json(text, wanted):
    assert read_json_label(text) == wanted


def test_labels_of_json_are_taken_from_the_entry_that_was_asked_for():
    text = '{"label": 1, "species": "fox", "of": {"it": [2]}}'
    assert read_json_label(text, "species") == ("species", "fox")
    assert read_json_label(text, "of.it") == ("of.it", "\x1f2")
    assert read_json_label(text, "of.them") is None


def test_single_labels_become_numbers():
    labels, names = spread_labels(["10", "9"], np.array([0, 1, 1]))
    assert (labels.tolist(), names) == ([1, 0, 0], ("9", "10"))


def test_several_labels_become_columns():
    several = (["b", "a"], [], ["c"])
    texts = [read_json_label(write_json_label(names).decode())[1] for names in several]
    labels, names = spread_labels(texts, np.array([0, 1, 2, 0]))
    assert names == ("a", "b", "c")
    assert labels.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1], [1, 1, 0]]


@pytest.mark.parametrize(
    ("lists", "wanted"),
    [
        (("[0, 0, 1]", "[1, 0, 0]"), [2, 0]),
        (("[0, 1]", "[1, 0]"), [1, 0]),
        (("[1, 0, 1]", "[0, 0, 0]"), [[1, 0, 1], [0, 0, 0]]),
    ],
)
def test_lists_of_0_and_1_are_indicators(lists, wanted):
    texts = [read_json_label(f'{{"label": {one}}}')[1] for one in lists]
    labels, names = spread_labels(texts, np.array([0, 1]))
    assert labels.tolist() == wanted
    assert names == tuple(str(k) for k in range(len(names)))


def test_indicators_take_names_of_their_places():
    texts = ["\x1f0\x1f1", "\x1f1\x1f0"]
    assert spread_labels(texts, np.array([0, 1]), ("no", "yes"))[1] == ("no", "yes")
    with pytest.raises(UsageError, match="has 3 names, the labels are lists of 2"):
        spread_labels(texts, np.array([0, 1]), ("a", "b", "c"))


def test_lists_with_a_label_twice_are_refused():
    with pytest.raises(DataError, match="a list of labels holds one twice: '3', '0', '0'"):
        spread_labels(["\x1f3\x1f0\x1f0"], np.array([0]))


def test_bytes_that_are_no_text_are_no_label():
    assert require_plain(b" caf\xc3\xa9\n", Path("a.tar"), "1.cls") == "caf\u00e9"
    with pytest.raises(DataError, match=r"1\.cls is not a label but"):
        require_plain(b"\x80\x04K\x03.", Path("a.tar"), "1.cls")


def test_labels_of_two_places_are_refused():
    require_one_place({"cls": 4}, "set")
    with pytest.raises(DataError) as caught:
        require_one_place({"cls": 4, "json.label": 1}, "set")
    assert caught.value.message == "set: labels are in several places: .cls (4), .json.label (1)"
    assert caught.value.hint == "say which one holds the class: data.label_column=cls"
