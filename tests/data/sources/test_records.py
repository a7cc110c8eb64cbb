"""Labels in JSON: records, dicts of paths, and COCO's lists."""

import json

import pytest
from trees import fail, plant

from torchloupe.data.sources import open_data
from torchloupe.data.sources.records import read_records
from torchloupe.errors import DataError

PLAIN = {"image": ["a.png", "b.png"], "label": ["cat", "3"]}


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ([{"image": "a.png", "label": "cat"}, {"image": "b.png", "label": 3}], PLAIN),
        ({"a.png": "cat", "b.png": 3}, PLAIN),
        ({"cat": ["a.png"], "3": ["b.png"]}, PLAIN),
        ({"data": [{"image": "a.png", "label": "cat", "box": {"x": 1}},
                   {"image": "b.png", "label": 3, "box": None}]}, PLAIN),
        ({"a": ["cat", "dog"], "b": ["dog"]},
         {"image": ["a", "b"], "label": ['["cat", "dog"]', '["dog"]']}),
        ([{"file": "a.png", "is_val": True}, {"file": "b.png"}],
         {"file": ["a.png", "b.png"], "is_val": ["true", ""]}),
    ],
)  # fmt: skip
def test_records_are_columns(tmp_path, content, columns):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    assert read_records(path) == (columns, ())


def coco(*annotations):
    return {
        "images": [{"id": k, "file_name": f"{k}.png"} for k in range(4)],
        "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [{"id": k, "image_id": i, "category_id": c, "bbox": [1, 2, 3, 4]}
                        for k, (i, c) in enumerate(annotations)],
    }  # fmt: skip


def test_records_of_coco_are_the_categories_of_each_image(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(coco((0, 7), (1, 9), (1, 9), (2, 7))))
    assert read_records(path) == (
        {"file_name": ["0.png", "1.png", "2.png"], "label": ["cat", "dog", "cat"]},
        ("1 image has no label and is not used",),
    )
    path.write_text(json.dumps(coco((0, 7), (1, 9), (1, 7))))
    assert read_records(path)[0]["label"] == ['["cat"]', '["dog", "cat"]']


def test_records_are_opened_like_tables(tmp_path):
    plant(tmp_path, *(f"{k}.png" for k in range(4)))
    lines = [json.dumps({"file_name": f"{k}.png", "label": "ab"[k % 2]}) for k in range(4)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    data = open_data(tmp_path / "metadata.jsonl")
    assert data.samples.class_names == ("a", "b")
    assert data.samples.labels.tolist() == [0, 1, 0, 1]


def test_records_for_each_split_divide_a_folder(tmp_path):
    for split in ("train", "test"):
        plant(tmp_path / split, *(f"{k}.png" for k in range(4)))
        lines = [json.dumps({"file_name": f"{k}.png", "label": k % 2}) for k in range(4)]
        (tmp_path / split / "metadata.jsonl").write_text("\n".join(lines))
    assert open_data(tmp_path).given.tolist() == [0, 0, 0, 0, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "{path} can't be read as JSON: "),
        ("[]", "{path} lists no images"),
        ("[1, 2]", "{path} lists no images"),
        ('{"a": {"b": 1}}', "{path} lists no images"),
        ("[" * 100_000, "{path} can't be read as JSON: "),
    ],
)
def test_other_json_is_refused(tmp_path, text, message):
    path = tmp_path / "labels.json"
    path.write_text(text)
    error = fail(path)
    assert isinstance(error, DataError)
    assert error.message.startswith(message.format(path=path))
    assert error.hint == 'for example [{"image": "1.jpg", "label": "cat"}, ...]'


def test_records_of_splits_without_labels_are_refused(tmp_path):
    path = tmp_path / "splits.json"
    path.write_text(json.dumps({"train": ["a.png"], "test": ["b.png"]}))
    with pytest.raises(DataError, match="lists no images"):
        read_records(path)


def test_records_may_stand_a_line_each_in_a_json_file(tmp_path):
    path = tmp_path / "photos.json"
    path.write_text('{"image": "a.png", "label": "cat"}\n{"image": "b.png", "label": "3"}\n')
    assert read_records(path)[0] == PLAIN


NAMES = ["cat", "dog"]
NUMBERED = [("a.png", 0), ("b.png", 1)]


@pytest.mark.parametrize(
    "content",
    [
        {"labels": NAMES, "training": [{"image": i, "label": n} for i, n in NUMBERED],
         "testing": [{"image": "c.png", "label": 1}]},
        {"train": dict(NUMBERED), "val": {"c.png": 1}, "classes": NAMES, "info": {"by": "me"}},
        {"classes": NAMES, "labels": dict(NUMBERED)},
        {"metainfo": {"classes": NAMES},
         "data_list": [{"img_path": i, "gt_label": n} for i, n in NUMBERED]},
    ],
)  # fmt: skip
def test_numbers_get_the_names_that_stand_beside(tmp_path, content):
    plant(tmp_path, "a.png", "b.png", "c.png")
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    data = open_data(path)
    assert data.samples.class_names == ("cat", "dog")
    assert data.samples.labels.tolist()[:2] == [0, 1]
    assert (data.given is not None) == (len(data.samples) == 3)


def test_objects_of_a_class_have_its_name(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"cat": [{"file": "a.png"}], "dog": [{"file": "b.png"}]}))
    columns, _ = read_records(path)
    assert columns == {"label": ["cat", "dog"], "file": ["a.png", "b.png"]}


@pytest.mark.parametrize(
    ("lists", "several"),
    [([[1, 0, 0], [0, 0, 1], [0, 1, 0]], False), ([[1, 0, 1], [0, 0, 1], [0, 1, 0]], True),
     ([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]], False), ([[0, 2], [2], [1]], True)],
)  # fmt: skip
@pytest.mark.parametrize("form", ["paths", "records", "named", "rows"])
def test_lists_of_numbers_are_rows_of_classes_or_class_numbers(tmp_path, lists, several, form):
    names = ("0.png", "1.png", "2.png")
    plant(tmp_path, *names)
    pairs = dict(zip(names, lists, strict=True))
    records = [{"image": image, "label": found} for image, found in pairs.items()]
    content = {"paths": pairs, "records": records, "rows": list(map(list, pairs.items())),
               "named": {"classes": ["a", "b", "c"], "labels": pairs}}[form]  # fmt: skip
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    data = open_data(path)
    assert data.samples.class_names == (("a", "b", "c") if form == "named" else ("0", "1", "2"))
    assert data.samples.is_multi_label == several
    assert data.samples.labels.tolist() == (
        [[1, 0, 1], [0, 0, 1], [0, 1, 0]] if several else [0, 2, 1]
    )


def test_boxes_of_paths_are_no_labels(tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"0.png": [10, 20, 30, 40], "1.png": [5, 9, 60, 70]}))
    assert "lists no images" in fail(path).message
