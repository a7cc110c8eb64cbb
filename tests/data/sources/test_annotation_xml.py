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
    assert read_cvat(path) == [("1.png", ["cat"]), ("2.png", ["dog"]), ("3.png", [])]
    data = open_data(path)
    assert labels(data) == ["cat", "dog"]
    assert data.notes == ("1 image has no label and is not used",)


def test_entities_and_broken_xml_are_refused(tmp_path):
    path = write(tmp_path, "a.xml", '<!DOCTYPE a [<!ENTITY b "c">]>', *IMAGES)
    assert "defines entities" in fail(path).message
    assert "can't be read as XML" in fail(write(tmp_path, "a.xml", *IMAGES[:2])).message
    assert "lists no images" in fail(write(tmp_path, "a.xml", "<a><b/></a>")).message
