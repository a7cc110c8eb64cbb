"""Shards that others wrote, without an index: read once, known from then on, and followed."""

import pytest
from tar_files import facts, pairs, put, put_foreign
from web_server import serving

from torchloupe.data.sources import open_data
from torchloupe.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def foreign(tmp_path):
    return put_foreign(tmp_path / "foreign")


def test_foreign_shards_are_read_once_and_then_known(foreign):
    near = open_data(foreign)
    with serving(foreign, failing=0.05) as server:
        far = open_data(f"{server.url}/{{000..003}}.tar")
        assert facts(far)[:3] == facts(near)[:3]
        assert [far.reader.read(row) for row in range(20)] == [b"image %d" % k for k in range(20)]
        server.failing, before = 0, len(server.asked)
        again = open_data(f"{server.url}/{{000..003}}.tar")
        assert not [
            path for kind, path in server.asked[before:] if (kind, path[-4:]) == ("GET", ".tar")
        ]
        assert facts(again) == facts(far)


def test_foreign_shards_that_changed_are_read_again(foreign):
    with serving(foreign) as server:
        open_data(f"{server.url}/{{000..003}}.tar")
        put(foreign / "002.tar", pairs(10, 15, ("cow", "dog")))
        assert "cow" in open_data(f"{server.url}/{{000..003}}.tar").samples.class_names


def test_foreign_shards_are_read_again_for_another_label(tmp_path):
    members = [(f"{k}.{end}", b"%d" % (k % n)) for k in range(6)
               for end, n in (("jpg", 9), ("cls", 2), ("txt", 3))]  # fmt: skip
    put(tmp_path / "far" / "a.tar", members)
    with serving(tmp_path / "far") as server:
        assert len(open_data(f"{server.url}/a.tar").samples.class_names) == 2
        other = open_data(f"{server.url}/a.tar", label_column="txt")
    assert other.samples.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_foreign_shards_with_labels_in_two_places_are_refused(tmp_path):
    put(tmp_path / "far" / "a.tar", pairs(0, 2))
    put(tmp_path / "far" / "b.tar", [("1.jpg", b"x"), ("1.json", b'{"label": 0}')])
    with serving(tmp_path / "far") as server, pytest.raises(DataError) as caught:
        open_data(f"{server.url}/{{a,b}}.tar")
    assert caught.value.message == (
        f"{server.url}: labels are in several places: .cls (2), .json.label (1)"
    )


def test_foreign_shards_note_splits_in_their_json_members(tmp_path):
    text = '{"label": %d, "class": "c", "split": "test", "patient_id": 1}'
    members = [(f"{k}.{end}", b"x" if end == "jpg" else (text % (k % 2)).encode())
               for k in range(4) for end in ("jpg", "json")]  # fmt: skip
    put(tmp_path / "far" / "a.tar", members)
    with serving(tmp_path / "far") as server:
        data = open_data(f"{server.url}/a.tar")
    assert data.notes == (
        "entries 'patient_id', 'split' of the .json members are not used in shards that are far: "
        "there only names of shards say a split (train-*, val-*, test-*)",
    )
