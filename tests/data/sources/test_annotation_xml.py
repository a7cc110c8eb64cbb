"""CVAT's XML: tags of images; no entities."""

from trees import fail, labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.annotation_xml import read_cvat

IMAGES = [
    "<annotations><version>1.1</version>",
    '<image id="0" name="1.png"><tag label="cat"></tag><box label="dog"/></image>',
    '<image id="1" name="2.png"><box label="dog"/></image>',
    '<image id="2" name="3.png"/></annotations>',
]


def test_tags_are_the_labels(tmp_path):
    plant(tmp_path, "1.png", "2.png", "3.png")
    path = write(tmp_path, "annotations.xml", *IMAGES)
    records = [{"file_name": "1.png", "label": "cat"}, {"file_name": "2.png", "label": "dog"}]
    assert read_cvat(path) == (records, ("1 image has no label and is not used",))
    data = open_data(path)
    assert labels(data) == ["cat", "dog"]
    assert data.notes == ("1 image has no label and is not used",)


def test_entities_and_broken_xml_are_refused(tmp_path):
    path = write(tmp_path, "a.xml", '<!DOCTYPE a [<!ENTITY b "c">]>', *IMAGES)
    assert "defines entities" in fail(path).message
    assert "can't be read as XML" in fail(write(tmp_path, "a.xml", *IMAGES[:2])).message
    assert "lists no images" in fail(write(tmp_path, "a.xml", "<a><b/></a>")).message


def test_images_without_a_subset_are_of_the_default_one(tmp_path):
    plant(tmp_path, "1.png", "2.png", "3.png")
    lines = [line.replace('id="1"', 'id="1" subset="Train"') for line in IMAGES]
    assert [record["subset"] for record in read_cvat(write(tmp_path, "a.xml", *lines))[0]] == [
        *("default", "Train")
    ]
