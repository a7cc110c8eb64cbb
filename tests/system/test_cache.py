"""Kept files: what was written, or nothing; what is remembered is what was made for that key."""

import numpy as np
import pytest

from torchloupe.errors import ResourceError
from torchloupe.system.cache import Kept, find_cache, read_kept, remember, write_kept

KEPT = Kept(
    {"names": ["a", "\udcff", "ü"], "half": 0.1, "none": None},
    {
        "rows": np.arange(7),
        "empty": np.zeros((0, 3), np.float32),
        "turned": np.arange(6, dtype=np.int8).reshape(2, 3).T,
    },
)


def show(kept):
    assert kept is not None
    arrays = {name: (a.dtype, a.tolist()) for name, a in sorted(kept.arrays.items())}
    return dict(kept.facts), arrays


def test_kept_file_comes_back_as_it_was(tmp_path):
    write_kept(tmp_path / "x", KEPT)
    assert show(read_kept(tmp_path / "x")) == show(KEPT)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_kept_file_with_any_byte_changed_or_cut_off_is_none(tmp_path):
    write_kept(tmp_path / "x", KEPT)
    content = (tmp_path / "x").read_bytes()
    for place in range(len(content)):
        (tmp_path / "x").write_bytes(
            content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]
        )
        found = read_kept(tmp_path / "x")
        assert found is None or show(found) == show(KEPT)
    for length in range(0, len(content), 7):
        (tmp_path / "x").write_bytes(content[:length])
        assert read_kept(tmp_path / "x") is None
    assert read_kept(tmp_path / "none") is None and read_kept(tmp_path) is None


def test_what_is_remembered_is_made_once_for_a_key(tmp_path):
    made = []

    def make():
        made.append(1)
        return Kept({"count": len(made)}, {"x": np.arange(len(made))})

    def ask(key):
        kept = remember(tmp_path / "x", key, make)
        return kept.facts["count"], len(kept.arrays["x"])

    assert [ask("a"), ask("a"), ask("b"), ask("b"), ask("a")] == [
        *((1, 1), (1, 1)),
        *((2, 2), (2, 2)),
        (3, 3),
    ]


def test_what_can_not_be_kept_is_made_each_time(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for path in (None, tmp_path / "file" / "x", tmp_path / "no folder" / "x"):
        assert remember(path, "a", lambda: Kept({"n": 1})).facts["n"] == 1
    with pytest.raises(ResourceError):
        write_kept(tmp_path / "file" / "x", KEPT)


def test_cache_folder_is_the_one_asked_for_or_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert find_cache() == tmp_path / "torchloupe"
    assert find_cache(tmp_path / "mine") == tmp_path / "mine"
