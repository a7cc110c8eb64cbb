"""Pages from templates: everything is text, and nothing is asked of the network."""

import json
import math
import re
import zipfile

import house
import pytest

from torchloupe.report.document import percent, read_asset, shown, to_script

HOSTILE = "</script><script>alert(1)</script><!--\u2028"


def test_json_in_a_script_can_neither_end_it_nor_open_another():
    text = to_script({"a": [HOSTILE, math.nan, math.inf, 0.1234567891], HOSTILE: None})
    assert not set("<>&\u2028") & set(text)
    found = json.loads(text)
    assert found["a"] == [HOSTILE, None, None, 0.123457]
    assert HOSTILE in found


def test_surrogates_of_file_names_are_written():
    assert json.loads(to_script(["caf\udce9"])) == ["caf\\udce9"]


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.5, "50.0\u00a0%"),
        (0.99999, "99.9\u00a0%"),
        (1.0, "100.0\u00a0%"),
        (None, "-"),
        (math.nan, "-"),
    ],
)
def test_percentages_never_round_up_to_all(share, text):
    assert percent(share) == text


def test_control_characters_and_directions_are_escapes():
    assert shown("a\u202eb\x1b[1m\n") == "a\\u202eb\\x1b[1m\\n"


def test_script_and_styles_name_no_address():
    for name in ("charts.js", "page.js", "page.css"):
        addresses = set(re.findall(r"https?://[^\s\"']+", read_asset(name)))
        assert addresses <= {"http://www.w3.org/2000/svg"}


def test_templates_and_assets_are_in_the_wheel(tmp_path):
    builder = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed")
    made = next(iter(builder.WheelBuilder(str(house.ROOT)).build(directory=str(tmp_path))))
    names = set(zipfile.ZipFile(made).namelist())
    wanted = [
        *(house.SOURCE / "report" / "assets").iterdir(),
        *(house.SOURCE / "report" / "templates").iterdir(),
    ]
    assert len(wanted) > 10
    for path in wanted:
        assert path.relative_to(house.SOURCE.parent).as_posix() in names
