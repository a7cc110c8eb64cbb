"""The index of a large folder: found again as it was listed, and never where anything changed."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from pictures import encode, noise

from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.pack.pixels import open_pixels
from torchloupe.data.sources import index, open_data, walk
from torchloupe.data.sources.index import IndexedReader
from torchloupe.errors import DataError
from torchloupe.system import cache

COUNT = 40


@pytest.fixture(autouse=True)
def small_is_large(tmp_path, monkeypatch):
    """Folders of a few images have an index, also where they were made just now."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "LARGE", 10)
    monkeypatch.setattr(index, "SETTLED_NS", -(10**12))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for number in range(COUNT):
        put(folder / "ab"[number % 2] / f"{number:03d}.png", seed=number)
    (folder / "a" / "notes.txt").write_text("x")
    (folder / "empty").mkdir()
    return folder


def put(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(noise(6, 5, seed=seed), "PNG"))


def change(path):
    """Write into a file and change nothing of the folder it lies in."""
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(b"x")


def indexes(tmp_path):
    return sorted((tmp_path / "cache" / "torchloupe" / "packs").glob("*.index"))


def is_indexed(data):
    return isinstance(data.reader, IndexedReader)


def facts_of(data):
    """All that an opened folder says, the class of its reader aside."""
    return {
        "ids": data.samples.ids.tolist(),
        "keys": data.samples.keys.tolist(),
        "labels": (data.samples.labels.dtype, data.samples.labels.tolist()),
        "names": data.samples.class_names,
        "given": None if data.given is None else (data.given.dtype, data.given.tolist()),
        "rest": (data.name, data.kind, dict(data.ignored), data.notes, data.stamp),
        "paths": [data.reader.path(row) for row in range(len(data.samples))],
        "bytes": [data.reader.read(row) for row in range(len(data.samples))],
    }


def test_index_gives_what_the_listing_gave(photos):
    listed, again = open_data(photos), open_data(photos)
    assert (is_indexed(listed), is_indexed(again)) == (False, True)
    assert facts_of(again) == facts_of(listed)
    assert "'empty' holds no images" in again.notes and again.ignored == {".txt": 1}


def test_index_keeps_splits_and_odd_names(tmp_path):
    odd = os.fsdecode(b"caf\xe9 \xff.png")
    for part in ("train", "val"):
        for number in range(10):
            put(tmp_path / "set" / part / "ab"[number % 2] / "deep er" / f"ü {number}\n.png")
    put(tmp_path / "set" / "train" / "a" / odd)
    listed, again = open_data(tmp_path / "set"), open_data(tmp_path / "set")
    assert is_indexed(again) and facts_of(again) == facts_of(listed)
    assert sum(odd in path for path in facts_of(again)["paths"]) == 1
    assert again.given is not None and set(again.given.tolist()) == {0, 1}


def test_index_is_of_the_class_names_that_were_given(photos):
    names = ["b", "a"]
    assert open_data(photos).samples.class_names == ("a", "b")
    listed = open_data(photos, class_names=names)
    assert not is_indexed(listed) and listed.samples.class_names == ("b", "a")
    again = open_data(photos, class_names=names)
    assert is_indexed(again) and facts_of(again) == facts_of(listed)


def add(folder):
    put(folder / "a" / "new.png")


def add_class(folder):
    put(folder / "c" / "new.png")


def fill_empty(folder):
    put(folder / "empty" / "new.png")


def remove(folder):
    (folder / "b" / "001.png").unlink()


def rename(folder):
    (folder / "a" / "000.png").rename(folder / "a" / "zzz.png")


def move(folder):
    (folder / "a" / "000.png").rename(folder / "b" / "000.png")


def rename_class(folder):
    (folder / "a").rename(folder / "z")


def replace(folder):
    """Copies in the place of a class folder, with its times."""
    shutil.copytree(folder / "a", folder / "copy")
    shutil.rmtree(folder / "a")
    (folder / "copy").rename(folder / "a")


def swap(folder):
    """Another folder of the same names, under the name of this one."""
    shutil.copytree(folder, folder.with_name("other"))
    put(folder.with_name("other") / "a" / "000.png", seed=77)
    folder.rename(folder.with_name("first"))
    folder.with_name("other").rename(folder)


CHANGES = [add, add_class, fill_empty, remove, rename, move, rename_class, replace, swap]


@pytest.mark.parametrize("alter", CHANGES, ids=lambda alter: alter.__name__)
def test_index_is_not_used_where_a_folder_changed(photos, tmp_path, alter):
    open_data(photos)
    alter(photos)
    found = open_data(photos)
    assert not is_indexed(found)
    for file in indexes(tmp_path):
        file.unlink()
    assert facts_of(found) == facts_of(open_data(photos))


@pytest.mark.parametrize("alter", [add, remove, rename], ids=lambda alter: alter.__name__)
def test_index_sees_new_names_where_folders_have_no_times(photos, monkeypatch, alter):
    monkeypatch.setattr(walk, "_times_of", lambda folder: (1, 1, 0, 0))
    open_data(photos)
    assert is_indexed(open_data(photos))
    alter(photos)
    assert not is_indexed(open_data(photos))


@pytest.mark.skipif(os.name == "nt", reason="links")
def test_index_follows_links_to_where_they_lead_now(photos, tmp_path):
    for number in range(3):
        put(tmp_path / f"more{number}" / "x.png", seed=number)
    (tmp_path / "way").symlink_to(tmp_path / "more0")
    (photos / "linked").symlink_to(tmp_path / "way")
    first = open_data(photos)
    assert is_indexed(open_data(photos)) and "linked/x.png" in first.samples.ids.tolist()
    (tmp_path / "way").unlink()
    (tmp_path / "way").symlink_to(tmp_path / "more1")
    second = open_data(photos)
    assert not is_indexed(second) and second.stamp != first.stamp
    put(tmp_path / "more1" / "y.png")
    assert "linked/y.png" in open_data(photos).samples.ids.tolist()


@pytest.mark.skipif(os.name == "nt", reason="links")
@pytest.mark.parametrize("name", ["a/later.png", "later"])
def test_folder_with_a_link_that_leads_nowhere_has_no_index(photos, tmp_path, name):
    (photos / name).symlink_to(tmp_path / "not yet")
    open_data(photos)
    assert indexes(tmp_path) == []


def test_folder_that_was_changed_just_now_has_no_index(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(index, "SETTLED_NS", 10**11)
    open_data(photos)
    assert indexes(tmp_path) == []


def test_folder_with_a_time_in_the_far_future_has_an_index(photos, tmp_path, monkeypatch):
    far = 4 * 10**9
    os.utime(photos / "a" / "000.png", (far, far))
    open_data(photos)
    assert len(indexes(tmp_path)) == 1


def test_small_folder_has_no_index(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "LARGE", COUNT + 1)
    assert not is_indexed(open_data(photos)) and not is_indexed(open_data(photos))
    assert not (tmp_path / "cache").exists()


def cut(content):
    return content[: len(content) // 2]


def flip(content):
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


def flip_facts(content):
    return content.replace(b"photos", b"phobos")


def empty(_content):
    return b""


@pytest.mark.parametrize("harm", [cut, flip, flip_facts, empty], ids=lambda harm: harm.__name__)
def test_damaged_index_is_as_good_as_none(photos, tmp_path, harm):
    listed = open_data(photos)
    (file,) = indexes(tmp_path)
    before = file.read_bytes()
    file.write_bytes(harm(before))
    assert file.read_bytes() != before
    again = open_data(photos)
    assert not is_indexed(again) and facts_of(again) == facts_of(listed)
    assert is_indexed(open_data(photos))


def test_no_room_for_an_index_is_no_failure(photos, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    assert facts_of(open_data(photos)) == facts_of(open_data(photos))


def test_changed_files_are_seen_when_the_index_is_opened(photos):
    first = open_data(photos)
    change(photos / "b" / "001.png")
    second = open_data(photos)
    assert not is_indexed(second) and second.stamp != first.stamp


def open_packed(folder):
    """The folder by its index, and its pixels in the pack that was made before."""
    contract = choose_contract(open_data(folder), mode="RGB", size="6")
    open_pixels(open_data(folder), contract)
    data = open_data(folder)
    assert is_indexed(data)
    return data, open_pixels(data, contract)


def test_changed_file_is_never_given_out(photos, monkeypatch):
    monkeypatch.setattr(index, "_AT_ONCE", 2)
    data, pixels = open_packed(photos)
    row = data.samples.ids.tolist().index("a/010.png")
    before = pixels.gather(np.array([0, 1]))
    assert (pixels.gather(np.array([0, 1])) == before).all()
    change(photos / "a" / "010.png")
    data, pixels = open_packed(photos)
    with pytest.raises(DataError) as caught:
        pixels.gather(np.array([3, row]))
    assert caught.value.message.endswith("a/010.png was changed since the folder was listed")
    fresh = open_data(photos)
    assert not is_indexed(fresh) and fresh.stamp != data.stamp
    assert fresh.reader.read(row).endswith(b"x")


def test_changed_file_is_found_while_others_are_used(photos, monkeypatch):
    monkeypatch.setattr(index, "_AT_ONCE", 2)
    open_packed(photos)
    change(photos / "b" / "021.png")
    _, pixels = open_packed(photos)
    for _ in range(2):  # each looks at eight others too
        pixels.gather(np.arange(8))
    with pytest.raises(DataError, match=r"b/021\.png was changed"):
        for _ in range(3):
            pixels.gather(np.arange(8))


def test_files_are_looked_at_once(photos, monkeypatch):
    _, pixels = open_packed(photos)
    for _ in range(6):
        pixels.gather(np.arange(8))
    change(photos / "b" / "021.png")
    assert len(pixels.gather(np.arange(COUNT))) == COUNT
    _, pixels = open_packed(photos)  # the change was seen at once, and listed
    pixels.require_unchanged_files()
    shutil.rmtree(photos)
    assert len(pixels.gather(np.arange(COUNT))) == COUNT


def test_names_come_back_from_many_pieces(monkeypatch):
    monkeypatch.setattr(index, "_PIECE_BYTES", 7)
    names = ["", "a", "ü" * 9, "b\nc", "", "x" * 30, "\u2603"]
    array = np.array(names, dtype=np.dtypes.StringDType())
    assert index._split_names(index._join_names(array), len(names)).tolist() == names


@pytest.mark.parametrize("names", [1, 7, COUNT // 2, COUNT // 2 + 1, COUNT])
def test_names_are_compared_in_pieces_as_they_were_read(photos, monkeypatch, names):
    monkeypatch.setattr(walk, "_CHUNK", names)
    open_data(photos)
    assert is_indexed(open_data(photos))
    rename(photos)
    assert not is_indexed(open_data(photos))


def test_index_of_a_path_is_of_that_path(photos, tmp_path, monkeypatch):
    first = open_data(photos)
    other = tmp_path / "elsewhere" / "photos"
    shutil.copytree(photos, other)
    assert not is_indexed(open_data(other))
    monkeypatch.chdir(photos.parent)
    again = open_data("photos")
    assert is_indexed(again) and again.samples.ids.tolist() == first.samples.ids.tolist()
    assert Path(again.reader.path(0)).read_bytes() == first.reader.read(0)


def test_index_of_a_folder_that_was_gone_down_through(tmp_path):
    for number in range(COUNT):
        put(tmp_path / "set" / "in" / "ab"[number % 2] / f"{number:03d}.png", seed=number)
    (tmp_path / "set" / "README.md").write_text("x")
    listed, again = open_data(tmp_path / "set"), open_data(tmp_path / "set")
    assert (is_indexed(listed), is_indexed(again)) == (False, True)
    assert facts_of(again) == facts_of(listed)
    assert again.notes == ("the data are in in/, the only folder there",)
    put(tmp_path / "set" / "c" / "1.png")  # beside it: no single folder any more
    assert not is_indexed(open_data(tmp_path / "set"))


def test_index_holds_as_long_as_what_is_no_data_is_none(photos):
    put(photos / "runs" / "1" / "look" / "1.png")
    for name in ("config.json", "contract.json"):
        (photos / "runs" / "1" / name).write_text("{}")
    listed, again = open_data(photos), open_data(photos)
    assert is_indexed(again)
    assert again.samples.class_names == listed.samples.class_names == ("a", "b")
    for name in ("config.json", "contract.json"):
        (photos / "runs" / "1" / name).unlink()
    data = open_data(photos)
    assert not is_indexed(data)
    assert data.samples.class_names == ("a", "b", "runs")
