"""Objects in cells stand for a label, several, or columns of their own."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from trees import fail, labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.object_cells import holds_unread, read_object, spread_objects


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
        ([{"tagId": "0b1", "tagName": "cat", "created": "x"}, {"tagName": "dog"}], ["cat", "dog"]),
        ([{"className": "cat", "score": 0.9}], ["cat"]),
        ([{"displayName": "cat", "other": "x"}], ["cat"]),
        ({"Tag-Name": "cat", "by": "me"}, "cat"),
        ([{"kind": "cat", "quality": "good"}], None),
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


KEYS = ["tagName", "tag_name", "name", "label", "class", "category", "value", "displayName"]


def save(folder, *tags):
    plant(folder, *(f"{k}.png" for k in range(len(tags))))
    entries = [{"id": f"x{k}", "image": f"{k}.png", "tags": own}
               for k, own in enumerate(tags)]  # fmt: skip
    return write(folder, "export.json", json.dumps(entries))


@pytest.mark.parametrize("key", KEYS)
def test_lists_of_tags_are_lists_of_labels(tmp_path, key):
    tags = [[{"tagId": k, key: name, "created": "2020"}] for k, name in enumerate("abab")]
    assert labels(open_data(save(tmp_path, *tags))) == ["a", "b", "a", "b"]
    data = open_data(save(tmp_path, [*tags[0], *tags[1]], *tags[1:]))
    assert labels(data) == ["a+b", "b", "a", "b"]
    assert data.samples.is_multi_label


UNREAD = [{"kind": "cat", "quality": "good"}]


def test_lists_that_are_not_understood_are_named(tmp_path):
    path = save(tmp_path, UNREAD, UNREAD)
    for options in ({}, {"label_column": "tags"}):
        error = fail(path, **options)
        assert 'column \'tags\' holds objects such as [{"kind": "cat"' in error.message


@pytest.mark.parametrize("name", ["people", "annotations", "tags"])
def test_lists_that_are_not_understood_are_no_labels_beside_others(tmp_path, name):
    plant(tmp_path, "0.png", "1.png")
    found = [{"x": 1, "y": [2, 3]}] if name == "annotations" else UNREAD
    entries = [{"image": f"{k}.png", "kind": "ab"[k], name: found} for k in range(2)]
    path = write(tmp_path, "export.json", json.dumps(entries))
    if name == "tags":
        assert "column 'tags' holds objects" in fail(path).message
    else:
        assert labels(open_data(path)) == ["a", "b"]
    assert labels(open_data(path, label_column="kind")) == ["a", "b"]


def test_columns_that_are_not_understood_are_listed(tmp_path):
    plant(tmp_path, "0.png", "1.png")
    entries = [{"image": f"{k}.png", "u": "ab"[k], "v": "c", "found": UNREAD} for k in range(2)]
    path = write(tmp_path, "export.json", json.dumps(entries))
    assert "its columns are 'image', 'u', 'v', 'found'" in fail(path).message


def test_lists_of_objects_in_the_cells_of_a_csv(tmp_path):
    plant(tmp_path, "1.png", "2.png")
    rows = ["1.png,\"[{'name': 'cat', 'id': 1}]\"", "2.png,\"[{'name': 'dog', 'id': 2}]\""]
    assert labels(open_data(write(tmp_path, "t.csv", "image,label", *rows))) == ["cat", "dog"]
    rows = [f"{k}.png,\"[{{'kind': 'cat', 'other': 'x'}}]\"" for k in "12"]
    assert "which of their values" in fail(write(tmp_path, "t.csv", "image,label", *rows)).message


def test_unread_lists_are_told_from_others():
    assert holds_unread(np.array(['[{"kind": "a", "other": "b"}]']))
    for cells in (["[1, 2]"], ['[{"name": "cat"}]'], ["cat"], ["[{"], []):
        assert not holds_unread(np.array(cells, dtype=np.dtypes.StringDType()))
    assert not holds_unread(None)


def test_a_list_of_tags_beside_the_images_is_no_list_of_images(tmp_path):
    plant(tmp_path, "0.png", "1.png")
    images = [{"image": f"{k}.png", "tags": [{"tag": {"name": "ab"[k], "id": k}}]} for k in (0, 1)]
    content = {"tags": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}], "images": images}
    assert labels(open_data(write(tmp_path, "export.json", json.dumps(content)))) == ["a", "b"]


def test_lists_of_objects_in_parquet_that_are_not_understood_are_refused(tmp_path):
    plant(tmp_path, "0.png", "1.png")
    for found, is_read in (([{"name": "a", "id": 1}], True), (UNREAD, False)):
        table = pa.table({"image": ["0.png", "1.png"], "tags": [found, found]})
        pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
        if is_read:
            assert labels(open_data(tmp_path / "t.parquet")) == ["a", "a"]
        else:
            assert "column 'tags' holds objects" in fail(tmp_path / "t.parquet").message
