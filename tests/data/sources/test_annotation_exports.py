"""JSON of annotation programs: each image with the labels that people gave it."""

import json

import pytest
from trees import fail, ids, labels, plant

from torchloupe.data.sources import open_data
from torchloupe.data.sources.annotation_exports import read_export

CAT_AND_DOG = [
    {"file_name": "1.png", "label": "cat"},
    {"file_name": "2.png", "label": "dog"},
]


def task(image, *choices, **more):
    result = [{"type": "choices", "value": {"choices": list(choices)}}]
    return {"data": {"image": image}, "annotations": [{"result": result, **more}]}


def via(name, **attributes):
    return {"filename": name, "size": 3, "regions": [], "file_attributes": attributes}


def test_label_studio():
    tasks = [task("1.png", "cat"), task("2.png", "dog"), task("3.png", "cat", was_cancelled=True)]
    assert read_export(tasks) == (CAT_AND_DOG, ("1 image has no label and is not used",))


def test_label_studio_where_people_disagree(tmp_path):
    tasks = [task("1.png", "cat"), task("2.png", "dog")]
    tasks[0]["annotations"] += task("1.png", "dog")["annotations"]
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps(tasks))
    assert "people gave 1 image different labels: '1.png'" in fail(path).message
    tasks[0]["annotations"][0]["ground_truth"] = True
    assert read_export(tasks)[0] == CAT_AND_DOG


@pytest.mark.parametrize("name", ["/data/upload/1/{}", "/data/upload/1/0a1b2c3d-{}",
                                  "/data/local-files/?d=images/{}"])  # fmt: skip
def test_label_studio_finds_files_where_they_are(tmp_path, name):
    plant(tmp_path, "images/1.png", "images/2.png")
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([task(name.format(f"{k}.png"), "ab"[k - 1]) for k in (1, 2)]))
    assert ids(open_data(path)) == ["images/1.png", "images/2.png"]


def test_via_with_attributes_of_files_or_of_regions():
    files = {"1.png3": via("1.png", kind="cat"), "2.png3": via("2.png")}
    found = ([{"filename": "1.png", "kind": "cat"}], ("1 image has no label and is not used",))
    assert read_export(files) == found
    assert read_export({"_via_settings": {}, "_via_img_metadata": files}) == found
    region = {"shape_attributes": {}, "region_attributes": {"name": "cat"}}
    files = {"1.png3": {**via("1.png"), "regions": {"0": region, "1": region}}}
    assert read_export(files)[0] == [{"filename": "1.png", "name": ["cat"]}]


def test_datumaro(tmp_path):
    items = [
        {
            "id": str(k),
            "annotations": [{"type": "label", "label_id": k - 1}, {"type": "bbox", "label_id": 0}],
            "image": {"path": f"{k}.png"},
        }
        for k in (1, 2)
    ]
    content = {"categories": {"label": {"labels": [{"name": "cat"}, {"name": "dog"}]}}}
    assert read_export({**content, "items": items}) == (CAT_AND_DOG, ())
    plant(tmp_path, "images/default/1.png", "images/default/2.png")
    path = tmp_path / "annotations" / "default.json"
    path.parent.mkdir()
    path.write_text(json.dumps({**content, "items": items}))
    assert labels(open_data(path)) == ["cat", "dog"]


def test_other_json_is_no_export():
    assert read_export([{"image": "1.png", "label": "cat"}]) is None
    assert read_export({"a.png": "cat"}) is None
