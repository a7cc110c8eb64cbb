"""JSON files of a run: written whole, numbers that are not finite as null, damage refused."""

import json
import math
from pathlib import Path

import pytest

from torchloupe.errors import CheckpointError
from torchloupe.run.json_files import read_json, write_json


def test_json_read_back_is_what_was_written(tmp_path: Path) -> None:
    content = {"loss": 0.25, "names": ["a", "猫"], "nested": {"none": None}}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": math.nan, "b": [math.inf, 1.5], "c": (-math.inf,)})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": None,
        "b": [None, 1.5],
        "c": [None],
    }


def test_text_is_written_as_it_is(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", '{"b":   1}')
    assert (tmp_path / "a.json").read_text() == '{"b":   1}'


def test_file_before_stays_where_content_is_no_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert read_json(tmp_path / "a.json") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 20_000, b"\xff\xfe"])
def test_damaged_json_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "metrics.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_json(path)
    assert caught.value.message.startswith(f"{path} can't be read (")
    assert caught.value.hint == "the run folder is damaged; train again"


def test_missing_json_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.json can't be read \(\[Errno 2\]"):
        read_json(tmp_path / "none.json")
