"""The inventory of packs: every kind of thing in the cache is told apart, and only ours removed."""

import multiprocessing
import os

import numpy as np
import pytest

from torchloupe.data.pack import format as pack_module
from torchloupe.data.pack.decoding import Chunk
from torchloupe.data.pack.format import PackWriter, read_pack
from torchloupe.data.pack.inventory import clear_packs, list_packs
from torchloupe.data.pack.library import building_alone
from torchloupe.system.cache import Kept, write_kept

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 4, 5, 3), np.uint8)
KEYS = np.arange(40, dtype=np.uint64)


def key(letter):
    return letter * 40


def begin(cache, letter, name=""):
    (cache / "packs").mkdir(exist_ok=True, parents=True)
    writer = PackWriter(cache / "packs" / key(letter), IMAGES.shape, "uint8", name)
    writer.write(Chunk(0, KEYS), IMAGES)
    return writer


def put(cache, letter, name="photos"):
    writer = begin(cache, letter, name)
    writer.finish(KEYS, [])
    return writer.folder


def states(cache, **options):
    return {entry.key[0]: entry.state for entry in list_packs(cache, **options)}


def clear_all(cache):
    return {entry.folder.name[:8]: why for entry, why in clear_packs(cache, lambda entry: True)}


def names_in(cache):
    return sorted(p.name for p in (cache / "packs").iterdir() if p.suffix != ".lock")


def test_inventory_of_nothing_is_empty(tmp_path):
    assert list(list_packs(tmp_path)) == [] and clear_all(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_inventory_tells_what_a_pack_is(tmp_path):
    folder = put(tmp_path, "a")
    os.utime(folder / "about.json", (1e9, 1e9))
    (entry,) = list_packs(tmp_path)
    assert (entry.folder, entry.key, entry.name) == (folder, key("a"), "photos")
    assert (entry.shape, entry.state, entry.reason) == ((40, 4, 5, 3), "whole", "")
    assert entry.last_used == 1e9
    assert 40 * 60 < entry.size_bytes < 40_000
    assert (folder / "about.json").stat().st_mtime == 1e9  # to look is not to use


def test_inventory_tells_the_states_apart(tmp_path, monkeypatch):
    for letter in "abc":
        put(tmp_path, letter)
    content = bytearray((tmp_path / "packs" / key("b") / "pixels.bin").read_bytes())
    content[7] ^= 1
    (tmp_path / "packs" / key("b") / "pixels.bin").write_bytes(content)
    (tmp_path / "packs" / key("c") / "manifest.json").unlink()
    begin(tmp_path, "d", "half")
    (tmp_path / "packs" / f".{key('e')}.discarded-12").mkdir()
    with monkeypatch.context() as older:
        older.setattr(pack_module, "FORMAT", 1)
        put(tmp_path, "f")
    quick = {
        **{"a": "whole", "b": "whole", "c": "damaged", "d": "unfinished", "e": "left over"},
        "f": "of another version",
    }
    assert states(tmp_path) == quick
    assert states(tmp_path, check=True) == {**quick, "a": "sound", "b": "damaged"}
    by_key = {entry.key[0]: entry for entry in list_packs(tmp_path, check=True)}
    assert "images from 0 on differ from what was written" in by_key["b"].reason
    assert (by_key["d"].name, by_key["d"].shape) == ("half", (40, 4, 5, 3))
    assert by_key["f"].name == "photos"
    assert set(clear_all(tmp_path).values()) == {""} and names_in(tmp_path) == []


def test_inventory_shows_and_clears_indexes(tmp_path):
    packs = tmp_path / "packs"
    put(tmp_path, "a")
    kept = Kept({"name": "photos"}, {"labels": np.zeros(60, np.int32)})
    write_kept(packs / f"{key('b')}.index", kept)
    os.utime(packs / f"{key('b')}.index", (1e9, 1e9))
    (packs / f"{key('c')}.index").write_bytes(b"half of one")
    (packs / f".{key('d')}.index.writing").write_bytes(b"")
    (packs / "mine.index").write_bytes(b"x")
    found = {entry.key[0]: entry for entry in list_packs(tmp_path)}
    assert [found[k].state for k in "abcd"] == ["whole", "index", "damaged", "damaged"]
    assert (found["b"].name, found["b"].shape, found["b"].last_used) == ("photos", (60,), 1e9)
    assert found["b"].size_bytes > 240
    assert set(clear_all(tmp_path).values()) == {""} and names_in(tmp_path) == ["mine.index"]


def test_clear_removes_only_what_is_wanted(tmp_path):
    put(tmp_path, "a", "photos")
    put(tmp_path, "b", "digits")
    done = list(clear_packs(tmp_path, lambda entry: entry.name == "digits"))
    assert [(entry.key, why) for entry, why in done] == [(key("b"), "")]
    assert names_in(tmp_path) == [key("a")]


def test_clear_leaves_alone_what_torchloupe_did_not_make(tmp_path):
    folder = put(tmp_path, "a")
    (folder / "notes.txt").write_text("mine")
    folder_in_it = put(tmp_path, "b")
    (folder_in_it / "pixels.bin").unlink()
    (folder_in_it / "pixels.bin").mkdir()
    packs = tmp_path / "packs"
    for name in ("photos", "0123", key("A"), f"{key('c')}.old", ".hidden"):
        (packs / name).mkdir()
    (packs / key("d")).write_text("a file")
    before = names_in(tmp_path)
    assert clear_all(tmp_path) == {
        "aaaaaaaa": "notes.txt in it is not torchloupe's",
        "bbbbbbbb": "pixels.bin in it is not torchloupe's",
    }
    assert names_in(tmp_path) == before
    assert (folder / "pixels.bin").exists() and (folder / "notes.txt").read_text() == "mine"


@pytest.mark.skipif(os.name == "nt", reason="links")
def test_clear_follows_no_link(tmp_path):
    precious = put(tmp_path / "other", "a")
    folder = put(tmp_path, "b")
    (tmp_path / "packs" / key("c")).symlink_to(precious)
    (folder / "pixels.bin").unlink()
    (folder / "pixels.bin").symlink_to(precious / "pixels.bin")
    assert clear_all(tmp_path) == {"bbbbbbbb": "pixels.bin in it is not torchloupe's"}
    assert names_in(tmp_path) == sorted([key("b"), key("c")])
    assert (read_pack(precious).pixels == IMAGES).all()


@pytest.mark.skipif(os.name == "nt", reason="a mapped file can't be removed there")
def test_pack_that_is_cleared_while_it_is_used_can_be_used_to_the_end(tmp_path):
    pixels = read_pack(put(tmp_path, "a"), at_once_bytes=0)
    assert clear_all(tmp_path) == {"aaaaaaaa": ""} and names_in(tmp_path) == []
    pixels.require_intact()
    assert (pixels.pixels == IMAGES).all()


def hold(folder, ready, leave):
    with building_alone(folder):
        ready.set()
        leave.wait(60)


def test_clear_leaves_alone_what_is_being_built(tmp_path):
    begin(tmp_path, "a")
    context = multiprocessing.get_context("spawn")
    ready, leave = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path / "packs" / key("a"), ready, leave))
    process.start()
    try:
        assert ready.wait(60)
        assert states(tmp_path) == {"a": "being built"}
        assert set(clear_all(tmp_path).values()) == {"it is being built"}
        assert len(names_in(tmp_path)) == 1
    finally:
        leave.set()
        process.join()
    assert states(tmp_path) == {"a": "unfinished"}
    assert set(clear_all(tmp_path).values()) == {""}
    assert names_in(tmp_path) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may remove anything")
def test_clear_says_what_it_may_not_remove(tmp_path):
    put(tmp_path, "a")
    (tmp_path / "packs").chmod(0o500)
    assert "can't be removed" in clear_all(tmp_path)["aaaaaaaa"]
    (tmp_path / "packs").chmod(0o700)
