"""Objects in cells stand for a label, several, or columns of their own."""

import pytest
from trees import fail, labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.object_cells import read_object, spread_objects


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({"name": "cat"}, "cat"),
        ({"id": 3, "name": "cat", "supercategory": "pet"}, "cat"),
        ({"id": 3}, 3),
        ({"class": {"name": "cat"}}, "cat"),
        ({"animal": "cat"}, "cat"),
        ({"cat": True, "dog": False}, ["cat"]),
        ({"cat": 1, "dog": 0}, ["cat"]),
        ({"choices": ["cat", "dog"]}, ["cat", "dog"]),
        ([{"label": "cat", "box": [1]}, {"label": "cat", "box": [2]}], ["cat"]),
        ({"cat": 0.9, "dog": 0.1}, None),
        ([{"from": "human", "value": "What is it?"}, {"from": "gpt", "value": "A cat."}], None),
        ([{"role": "user", "content": "?"}, {"role": "assistant", "content": "A cat."}], None),
        ({"kind": "cat", "quality": "good"}, None),
        ("cat", "cat"),
    ],
)
def test_what_an_object_stands_for(value, plain):
    assert read_object(value) == plain


def test_objects_become_columns_and_boxes_none():
    record = {"id": 1, "data": {"a": "1.png", "b": "x"}, "box": {"x": 1, "y": [2, 3]}}
    assert spread_objects(record) == {"id": 1, "data.a": "1.png", "data.b": "x"}


def test_objects_in_the_cells_of_a_csv(tmp_path):
    plant(tmp_path, "1.png", "2.png")
    rows = ['1.png,"{""name"": ""cat""}"', "2.png,{'name': 'dog'}"]
    assert labels(open_data(write(tmp_path, "t.csv", "image,label", *rows))) == ["cat", "dog"]
    rows = [f'{k}.png,"{{""kind"": ""a"", ""other"": ""b""}}"' for k in "12"]
    assert "which of their values" in fail(write(tmp_path, "t.csv", "image,label", *rows)).message
