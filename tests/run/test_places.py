"""Where runs lie: new folders, and what is said where there is none."""

import pytest

from torchloupe.errors import UsageError
from torchloupe.run import places


def test_create_run_counts_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [places.create_run(None, "digits").as_posix() for _ in range(3)]
    assert names == ["runs/digits-001", "runs/digits-002", "runs/digits-003"]


@pytest.mark.parametrize(
    ("name", "folder"), [("a/b\nc", "a-b-c-001"), ("..", "run-001"), ("猫 photos", "猫-photos-001")]
)
def test_create_run_makes_a_folder_name_of_any_text(tmp_path, monkeypatch, name, folder):
    monkeypatch.chdir(tmp_path)
    assert places.create_run(None, name).name == folder


def test_create_run_never_writes_over_a_run(tmp_path):
    out = places.create_run(tmp_path / "a" / "b", "x")
    (out / "config.json").write_text("{}")
    with pytest.raises(UsageError) as caught:
        places.create_run(out, "x")
    assert "is not empty" in caught.value.message
    assert "loupe resume" in caught.value.hint


def test_create_run_on_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file, not a folder"):
        places.create_run(tmp_path / "file", "x")


def test_find_run_says_what_is_there_instead(tmp_path):
    made = tmp_path / "digits-001"
    made.mkdir()
    with pytest.raises(UsageError, match="is not a run folder"):
        places.find_run(made)
    (made / "config.json").write_text("{}")
    assert places.find_run(made) == made
    with pytest.raises(UsageError, match="there is no run folder") as caught:
        places.find_run(tmp_path / "digits-002")
    assert "digits-001" in caught.value.hint


def test_find_run_names_the_run_that_may_be_meant_first(tmp_path):
    for name in ("photos-001", "sweep-a", "tiny-001", "two-001"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    with pytest.raises(UsageError) as caught:
        places.find_run(tmp_path / "photo-001")
    assert caught.value.hint.startswith(f"did you mean {tmp_path / 'photos-001'}")
    with pytest.raises(UsageError) as caught:
        places.find_run(tmp_path / "zzz")
    assert caught.value.hint.startswith("the latest runs beside it: ")


@pytest.mark.parametrize(
    ("text", "limit", "name"),
    [
        ("a digit.png", 80, "a-digit.png"),
        ("../../etc/passwd", 80, "etc-passwd"),
        ("猫 photos", 80, "猫-photos"),
        ("x" * 100, 40, "x" * 40),
        ("...", 80, ""),
    ],
)
def test_safe_name_is_a_file_name_anywhere(text, limit, name):
    assert places.safe_name(text, limit) == name


def test_create_run_takes_a_folder_that_only_lists_what_could_not_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = places.create_run(None, "photos")
    (first / places.SET_ASIDE).write_text("path,reason,kind\n")
    assert places.create_run(None, "photos") == places.create_run(first, "photos") == first
    (first / "config.json").write_text("{}")
    assert places.create_run(None, "photos").name == "photos-002"
