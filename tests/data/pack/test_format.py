"""The pack on disk: whole or not there, every damage found, taken up where a writer was killed."""

import os
import shutil

import numpy as np
import pytest

from torchloupe.data.pack import decoding
from torchloupe.data.pack import format as pack_module
from torchloupe.data.pack.decoding import BadImage, Chunk
from torchloupe.data.pack.format import FILES, PackError, PackWriter, disk_bytes, read_pack
from torchloupe.errors import ResourceError

IMAGES = np.random.default_rng(0).integers(0, 256, (1200, 4, 4, 1), np.uint8)


@pytest.fixture(autouse=True)
def chunks_of_512(monkeypatch):
    monkeypatch.setattr(decoding, "CHUNKS", 2)


def begin(folder, chunks=3):
    writer = PackWriter(folder, IMAGES.shape, "uint8")
    for number in range(chunks):
        write_chunk(writer, number)
    return writer


def write_chunk(writer, number, bad=()):
    start, end = 512 * number, min(512 * number + 512, 1200)
    writer.write(Chunk(start, np.arange(start, end, dtype=np.uint64), bad), IMAGES[start:end])


def write(folder):
    begin(folder).finish(np.arange(1200, dtype=np.uint64), [])


def test_pack_gives_back_what_was_written(tmp_path):
    write(tmp_path / "p")
    found = read_pack(tmp_path / "p")
    assert (found.pixels == IMAGES).all() and (found.content == np.arange(1200)).all()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p"]


def test_pack_is_flushed_while_it_is_written_and_a_disk_that_fails_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(pack_module, "FLUSH_BYTES", 512 * 16)
    flushed = []
    monkeypatch.setattr(pack_module, "sync", lambda path: flushed.append(path.name))
    writer = begin(tmp_path / "p", chunks=2)
    writer._flusher.shutdown()
    assert flushed[0] == "pixels.bin"

    failures = [OSError(5, "Input/output error")]  # which the system tells once

    def fail_once(path):
        if failures:
            raise failures.pop()

    monkeypatch.setattr(pack_module, "sync", fail_once)
    writer = begin(tmp_path / "q", chunks=1)
    with pytest.raises(OSError, match="Input/output error"):
        writer.finish(np.arange(1200, dtype=np.uint64), [])
    assert not (tmp_path / "q").exists()


def test_pack_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_pack(tmp_path / "p")


def flip(path, at=-1):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "a bit of the first chunk": lambda p: flip(p / "pixels.bin", 0),
    "a bit of the last chunk": lambda p: flip(p / "pixels.bin"),
    "one byte cut": lambda p: os.truncate(p / "pixels.bin", 1200 * 16 - 1),
    "one byte more": lambda p: os.truncate(p / "pixels.bin", 1200 * 16 + 1),
    "a zeroed tail": lambda p: [os.truncate(p / "pixels.bin", size) for size in (9000, 19_200)],
    "an empty file": lambda p: os.truncate(p / "pixels.bin", 0),
    "no pixels": lambda p: (p / "pixels.bin").unlink(),
    "a bit of the keys": lambda p: flip(p / "content.bin"),
    "no keys": lambda p: (p / "content.bin").unlink(),
    "a byte of the manifest": lambda p: flip(p / "manifest.json", 20),
    "the manifest's end": lambda p: os.truncate(p / "manifest.json", 100),
    "no manifest": lambda p: (p / "manifest.json").unlink(),
    "two files swapped": lambda p: (
        (p / "pixels.bin").rename(p / "x"),
        (p / "content.bin").rename(p / "pixels.bin"),
        (p / "x").rename(p / "content.bin"),
    ),
    "a file in its place": lambda p: (shutil.rmtree(p), p.write_text("x")),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_pack_that_is_damaged_is_refused(tmp_path, name):
    write(tmp_path / "p")
    DAMAGES[name](tmp_path / "p")
    with pytest.raises(PackError):
        read_pack(tmp_path / "p")


def test_pack_names_the_first_images_that_are_damaged(tmp_path):
    write(tmp_path / "p")
    flip(tmp_path / "p" / "pixels.bin", 16 * 700)
    with pytest.raises(PackError, match="images from 512 on differ from what was written"):
        read_pack(tmp_path / "p")


def test_pack_of_another_set_in_its_place_is_refused(tmp_path):
    write(tmp_path / "p")
    (tmp_path / "p" / "pixels.bin").write_bytes(bytes(9600))
    with pytest.raises(PackError, match=r"pixels\.bin has 9,600 bytes, not 19,200"):
        read_pack(tmp_path / "p")


def test_pack_of_another_format_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as older:
        older.setattr(pack_module, "FORMAT", 1)
        write(tmp_path / "p")
    with pytest.raises(PackError, match="it has format 1, not 2"):
        read_pack(tmp_path / "p")


def test_large_pack_is_checked_where_it_is_used(tmp_path, monkeypatch):
    write(tmp_path / "p")
    flip(tmp_path / "p" / "pixels.bin", 16 * 700)
    monkeypatch.setattr(pack_module, "AT_ONCE_BYTES", 0)
    found = read_pack(tmp_path / "p")
    found.require_intact(np.array([0, 511, 1199]))
    for _ in range(2):
        with pytest.raises(ResourceError, match="images from 512 on differ from what was written"):
            found.require_intact(np.array([3, 520]))
    found.require_intact(np.array([0, 511, 1199]))
    with pytest.raises(ResourceError, match="is damaged"):
        found.require_intact()
    with pytest.raises(PackError, match="images from 512 on"):  # no longer opened
        read_pack(tmp_path / "p")


def test_pack_that_is_sound_is_read_once(tmp_path, monkeypatch):
    write(tmp_path / "p")
    monkeypatch.setattr(pack_module, "AT_ONCE_BYTES", 0)
    found = read_pack(tmp_path / "p")
    assert found.blocks.find_damage() is None
    monkeypatch.setattr(found.blocks, "_digests", b"")
    assert found.blocks.find_damage() is None
    assert found.blocks.find_damage(np.array([7])) is None


def test_pack_holds_only_the_files_that_are_its_own(tmp_path):
    place = begin(tmp_path / "p").place
    assert {path.name for path in place.iterdir()} <= set(FILES)
    write(tmp_path / "q")
    assert {path.name for path in (tmp_path / "q").iterdir()} == {
        *("pixels.bin", "blocks.bin", "content.bin", "manifest.json", "about.json"),
    }


def test_pack_obeys_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write(tmp_path / "p")
    finally:
        os.umask(before)
    assert (tmp_path / "p").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "p" / "pixels.bin").stat().st_mode & 0o777 == 0o640


def test_writer_takes_up_what_another_left(tmp_path):
    left = begin(tmp_path / "p", chunks=2)
    writer = PackWriter(tmp_path / "p", IMAGES.shape, "uint8")
    assert writer.place == left.place and not writer.is_empty
    assert [chunk.start for chunk in writer.kept] == [0, 512]
    assert (np.concatenate([c.content for c in writer.kept]) == np.arange(1024)).all()
    write_chunk(writer, 2)
    writer.finish(np.arange(1200, dtype=np.uint64), [])
    assert (read_pack(tmp_path / "p").pixels == IMAGES).all()
    write(tmp_path / "q")
    for name in ("pixels.bin", "blocks.bin", "content.bin", "manifest.json"):
        assert (tmp_path / "p" / name).read_bytes() == (tmp_path / "q" / name).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p", "q"]


SPOILT = {
    "a bit of the second chunk": lambda p: flip(p / "pixels.bin", 16 * 1023),
    "a bit of its line": lambda p: flip(p / "journal", -100),
    "a line cut short": lambda p: os.truncate(p / "journal", (p / "journal").stat().st_size - 9),
    "a line without its end": lambda p: os.truncate(
        p / "journal", (p / "journal").stat().st_size - 1
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_writer_takes_up_only_what_is_sound(tmp_path, name):
    SPOILT[name](begin(tmp_path / "p", chunks=2).place)
    for _ in range(2):
        writer = PackWriter(tmp_path / "p", IMAGES.shape, "uint8")
        assert [chunk.start for chunk in writer.kept] == [0]
    write_chunk(writer, 1)
    again = PackWriter(tmp_path / "p", IMAGES.shape, "uint8")
    assert [chunk.start for chunk in again.kept] == [0, 512]


def test_writer_gives_images_that_could_not_be_read_another_try(tmp_path):
    writer = begin(tmp_path / "p", chunks=0)
    write_chunk(writer, 0, (BadImage(3, "three", "not an image"),))
    write_chunk(writer, 1, (BadImage(600, "x", "there is no such file", is_unread=True),))
    (kept,) = PackWriter(tmp_path / "p", IMAGES.shape, "uint8").kept
    assert kept.bad == (BadImage(3, "three", "not an image"),)


def test_writer_takes_up_the_longest_and_removes_the_rest(tmp_path):
    places = [begin(tmp_path / "p", 0).place.rename(tmp_path / f"x{k}") for k in range(3)]
    long = begin(tmp_path / "p", 1).place.rename(tmp_path / "long")
    for number, place in enumerate([*places, long]):
        place.rename(tmp_path / f".p.building-{number}")
    os.truncate(tmp_path / ".p.building-0" / "pixels.bin", 7)
    writer = PackWriter(tmp_path / "p", IMAGES.shape, "uint8")
    assert len(writer.kept) == 1
    assert [path.name for path in tmp_path.iterdir()] == [".p.building-3"]


@pytest.mark.skipif(os.name == "nt", reason="links")
def test_writer_does_not_follow_a_link(tmp_path):
    precious = begin(tmp_path / "p", 1).place.rename(tmp_path / "precious")
    (tmp_path / ".p.building-1").symlink_to(precious)
    writer = PackWriter(tmp_path / "p", IMAGES.shape, "uint8")
    assert writer.kept == () and writer.place not in (precious, tmp_path / ".p.building-1")
    assert (precious / "pixels.bin").exists()


def test_disk_bytes_leave_out_holes(tmp_path):
    writer = PackWriter(tmp_path / "p", (1000, 100, 100, 3), "uint8")
    assert disk_bytes(writer.place) < 1_000_000
    write(tmp_path / "q")
    assert 19_200 < disk_bytes(tmp_path / "q") < 60_000
    shutil.rmtree(tmp_path / "q")
    assert disk_bytes(tmp_path / "q") == 0
