"""JSON of a run: NaN and infinities become null, and damaged files are refused."""

import json
import math

import pytest

from torchloupe.errors import CheckpointError
from torchloupe.run.json_files import finite, read_json, write_json


def test_numbers_that_are_not_finite_become_null(tmp_path):
    content = {"a": [1.5, math.nan, (math.inf, "text")], "b": {"c": -math.inf, "d": None}}
    wanted = {"a": [1.5, None, [None, "text"]], "b": {"c": None, "d": None}}
    assert finite(content) == wanted
    write_json(tmp_path / "metrics.json", content)
    assert read_json(tmp_path / "metrics.json") == wanted
    assert json.loads((tmp_path / "metrics.json").read_text()) == wanted


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_damaged_json_is_refused_by_its_name(tmp_path, content):
    (tmp_path / "metrics.json").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_json(tmp_path / "metrics.json")
    assert str(tmp_path / "metrics.json") in caught.value.message
    assert caught.value.hint == "the run folder is damaged; train again"
