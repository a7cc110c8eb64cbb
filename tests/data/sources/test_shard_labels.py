"""Labels in `.json` members, single and several, and as they are written."""

import numpy as np
import pytest

from torchloupe.data.sources.shard_labels import read_json_label, spread_labels, write_json_label


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"label": 3}', "3"),
        ('{"Label": "cat "}', "cat"),
        ('{"cls": 3.0}', "3"),
        ('{"caption": "x", "class_name": "dog"}', "dog"),
        ('{"labels": ["a", 2]}', "\x1fa\x1f2"),
        ('{"labels": []}', "\x1f"),
        ('{"label": 0.5}', None),
        ('{"label": true}', None),
        ('{"caption": "x"}', None),
        ("[1, 2]", None),
        ("no json", None),
    ],
)
def test_labels_of_json(text, wanted):
    assert read_json_label(text) == wanted


def test_single_labels_become_numbers():
    labels, names = spread_labels(["10", "9"], np.array([0, 1, 1]))
    assert (labels.tolist(), names) == ([1, 0, 0], ("9", "10"))


def test_several_labels_become_columns():
    texts = [read_json_label(write_json_label(names).decode()) for names in (["b", "a"], [], ["c"])]
    labels, names = spread_labels(texts, np.array([0, 1, 2, 0]))
    assert names == ("a", "b", "c")
    assert labels.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1], [1, 1, 0]]
