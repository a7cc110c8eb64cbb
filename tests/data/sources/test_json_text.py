"""JSON whose objects have a key twice."""

import pytest
from trees import fail, plant

from torchloupe.data.sources import open_data
from torchloupe.data.sources.json_text import parse_json
from torchloupe.errors import DataError


@pytest.mark.parametrize("text", ['{"a": 1, "b": 2, "a": 3}', '[{"x": {"a": [1], "a": [2]}}]'])
def test_a_key_with_two_values_is_refused(text):
    with pytest.raises(DataError, match=r"^x.json has the key 'a' twice"):
        parse_json(text, "x.json")


def test_a_key_again_with_its_value_is_no_matter():
    assert parse_json('{"a": 1, "a": 1}', "x.json") == {"a": 1}


@pytest.mark.parametrize("lines", [False, True])
def test_an_image_with_two_labels_in_json_is_refused(tmp_path, lines):
    plant(tmp_path, "0.png", "1.png")
    text = '{"0.png": "a", "1.png": "b", "0.png": "b"}'
    if lines:
        text = '{"image": "0.png", "label": "a", "label": "b"}\n' * 2
    path = tmp_path / f"x.json{'l' * lines}"
    path.write_text(text)
    assert "twice, with 'a' and 'b'" in fail(path).message
    path.write_text(
        text.replace('"label": "b"', '"split": "train"').replace('.png": "b"}', '.png": "a"}')
    )
    assert len(open_data(path).samples) == 2
