"""The shelf of packs: built by one process at a time, again where damaged, on where killed."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from pictures import encode, noise

from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.pack import decoding, library
from torchloupe.data.pack import format as pack_module
from torchloupe.data.pack.format import PackWriter
from torchloupe.data.pack.library import building_alone
from torchloupe.data.pack.pixels import open_pixels
from torchloupe.data.sources import open_data
from torchloupe.errors import ResourceError


@pytest.fixture
def data(tmp_path):
    for number in range(8):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(noise(seed=number), "PNG"))
    return open_data(tmp_path / "photos")


def packs_in(cache):
    return sorted(p for p in (cache / "packs").iterdir() if p.suffix != ".lock")


def flip(path, at=-1):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "a bit of the first chunk": lambda p: flip(p / "pixels.bin", 0),
    "no manifest": lambda p: (p / "manifest.json").unlink(),
    "a file in its place": lambda p: (shutil.rmtree(p), p.write_text("x")),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_pack_is_built_again_and_said_so(tmp_path, data, name):
    contract = choose_contract(data)
    first = open_pixels(data, contract, cache_folder=tmp_path / "cache")
    (folder,) = packs_in(tmp_path / "cache")
    before = first.gather(np.arange(8))
    del first
    DAMAGES[name](folder)
    again = open_pixels(data, contract, cache_folder=tmp_path / "cache")
    assert "was damaged and is built again" in again.notes[0]
    assert (again.gather(np.arange(8)) == before).all()
    assert open_pixels(data, contract, cache_folder=tmp_path / "cache").notes == ()
    assert packs_in(tmp_path / "cache") == [folder]


@pytest.mark.skipif(os.name == "nt", reason="links")
def test_link_in_the_place_of_a_pack_is_not_followed(tmp_path, data):
    contract = choose_contract(data)
    open_pixels(data, contract, cache_folder=tmp_path / "cache")
    (folder,) = packs_in(tmp_path / "cache")
    shutil.rmtree(folder)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("kept")
    folder.symlink_to(tmp_path / "precious")
    open_pixels(data, contract, cache_folder=tmp_path / "cache")
    assert not folder.is_symlink()
    assert (tmp_path / "precious" / "file").read_text() == "kept"


BUILD = """
import sys, time
from pathlib import Path
from torchloupe.data.pack import decoding
from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.pack.pixels import open_pixels
from torchloupe.data.sources import open_data
decoding.CHUNKS = 4  # of two images each
data = open_data(sys.argv[1])
reader = data.reader
class Slow:
    def read(self, row):
        time.sleep(float(sys.argv[3]) * (row % 4))
        return reader.read(row)
contract = choose_contract(data)
object.__setattr__(data, "reader", Slow())
print("started", flush=True)
pixels = open_pixels(data, contract, pack="disk", cache_folder=Path(sys.argv[2]))
print(len(pixels.notes), pixels.gather(__import__("numpy").arange(8)).sum().item())
"""


def build(tmp_path, seconds):
    arguments = [sys.executable, "-c", BUILD, tmp_path / "photos", tmp_path / "cache", str(seconds)]
    return subprocess.Popen([str(a) for a in arguments], stdout=subprocess.PIPE, text=True)


def test_two_processes_build_one_pack(tmp_path, data):
    both = [build(tmp_path, 0.1) for _ in range(2)]
    said = sorted(process.communicate(timeout=60)[0].split()[-2:] for process in both)
    assert [int(notes) for notes, _ in said] == [0, 1]  # one built it, the other found it
    assert said[0][1] == said[1][1]
    assert len(packs_in(tmp_path / "cache")) == 1


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_build_that_was_killed_goes_on_and_ends_in_the_same_bytes(tmp_path, data, monkeypatch):
    process = build(tmp_path, 0.3)
    deadline = time.monotonic() + 60
    finished = []
    while len(finished) < 2:  # of four chunks
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
        journals = list((tmp_path / "cache" / "packs").glob(".*building*/journal"))
        finished = journals[0].read_bytes().splitlines() if journals else []
    process.send_signal(signal.SIGKILL)
    process.communicate()
    monkeypatch.setattr(decoding, "CHUNKS", 4)
    contract, said, read = choose_contract(data), [], []

    class Watched:
        def read(self, row):
            read.append(row)
            return reader.read(row)

    reader = data.reader
    object.__setattr__(data, "reader", Watched())
    pixels = open_pixels(data, contract, cache_folder=tmp_path / "cache", announce=said.append)
    assert 0 < len(read) <= 4
    kept = 8 - len(read)
    assert said[1] == f"{kept} of them are there already, from a build that was stopped"
    assert f"that held {kept} already" in pixels.notes[0]
    straight = open_pixels(data, contract, cache_folder=tmp_path / "other")
    assert (pixels.content == straight.content).all()
    for name in ("pixels.bin", "blocks.bin", "content.bin", "manifest.json"):
        one, other = (packs_in(tmp_path / place)[0] / name for place in ("cache", "other"))
        assert one.read_bytes() == other.read_bytes()
    assert len(packs_in(tmp_path / "cache")) == 1


def hold(folder, ready, leave):
    with building_alone(folder):
        ready.set()
        leave.wait(60)


def test_builder_that_hangs_is_not_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "STALLED_SECONDS", 1)
    context = multiprocessing.get_context("spawn")
    ready, leave = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path / "p", ready, leave))
    process.start()
    try:
        assert ready.wait(60)
        with (
            pytest.raises(ResourceError, match="another process is building"),
            building_alone(tmp_path / "p"),
        ):
            pass
    finally:
        leave.set()
        process.join()
    with building_alone(tmp_path / "p"):
        pass


def test_disk_that_fills_up_while_a_pack_is_written_leads_to_memory(tmp_path, data, monkeypatch):
    def full(self, chunk, pixels):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PackWriter, "write", full)
    contract = choose_contract(data)
    pixels = open_pixels(data, contract, cache_folder=tmp_path / "cache")
    assert pixels.where == "memory" and "No space left on device" in pixels.notes[0]
    assert packs_in(tmp_path / "cache") == []
    for row in range(8):
        image = pixels.gather(np.array([row]))[0].numpy()
        assert (image == contract.decode(data.reader.read(row))).all()


def test_interrupted_build_keeps_what_is_finished(tmp_path, data, monkeypatch):
    monkeypatch.setattr(decoding, "CHUNKS", 4)
    contract = choose_contract(data)

    def interrupt(done, total):
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_pixels(data, contract, cache_folder=tmp_path / "cache", progress=interrupt)
    assert [p.name[41:50] for p in packs_in(tmp_path / "cache")] == [".building"]
    pixels = open_pixels(data, contract, cache_folder=tmp_path / "cache")
    assert pixels.where == "disk" and "already" in pixels.notes[0]
    assert [p.name[0] != "." for p in packs_in(tmp_path / "cache")] == [True]


def test_build_that_is_interrupted_at_once_leaves_nothing(tmp_path, data, monkeypatch):
    def interrupt(self, chunk, pixels):
        raise KeyboardInterrupt

    monkeypatch.setattr(PackWriter, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        open_pixels(data, choose_contract(data), cache_folder=tmp_path / "cache")
    assert packs_in(tmp_path / "cache") == []


def test_cost_of_a_pack_is_announced_before_it_is_built_and_only_then(tmp_path, data):
    said = []

    def follow(done, total):
        assert said

    for _ in range(2):
        open_pixels(
            data,
            choose_contract(data),
            cache_folder=tmp_path / "cache",
            progress=follow,
            announce=said.append,
        )
    (text,) = said
    assert text.startswith("decoding 8 images into a pack of 3 x 12 x 16: 4.61 kB in ")
    assert text.endswith(" free")


def test_large_pack_that_is_damaged_stops_the_work_and_is_built_again(tmp_path, data, monkeypatch):
    monkeypatch.setattr(pack_module, "AT_ONCE_BYTES", 0)
    contract = choose_contract(data)
    before = open_pixels(data, contract, cache_folder=tmp_path / "cache").gather(np.arange(8))
    flip(packs_in(tmp_path / "cache")[0] / "pixels.bin")
    pixels = open_pixels(data, contract, cache_folder=tmp_path / "cache")
    assert pixels.notes == ()
    with pytest.raises(ResourceError, match=r"is damaged: images from 7 on") as caught:
        pixels.gather(np.arange(8))
    assert "the pack is then built again" in caught.value.hint
    pixels = open_pixels(data, contract, cache_folder=tmp_path / "cache")
    assert "was damaged and is built again: images from 7 on" in pixels.notes[0]
    assert (pixels.gather(np.arange(8)) == before).all()


def test_pack_remembers_its_last_use_and_the_name_of_its_data(tmp_path, data):
    contract = choose_contract(data)
    open_pixels(data, contract, cache_folder=tmp_path / "cache")
    about = packs_in(tmp_path / "cache")[0] / "about.json"
    assert json.loads(about.read_text()) == {"name": "photos", "shape": [8, 12, 16, 3]}
    os.utime(about, (1e9, 1e9))
    open_pixels(data, contract, cache_folder=tmp_path / "cache")
    assert about.stat().st_mtime > 1.7e9
    about.unlink()
    open_pixels(data, contract, cache_folder=tmp_path / "cache")
    assert json.loads(about.read_text()) == {"name": "photos", "shape": [8, 12, 16, 3]}


def test_pack_that_is_there_needs_no_room_and_one_begun_only_the_rest(tmp_path, data, monkeypatch):
    cache, work = tmp_path / "cache", decoding.Decoding(data, choose_contract(data))
    assert library.missing_bytes(work, cache) == work.total_bytes == 8 * 12 * 16 * 3
    (cache / "packs").mkdir(parents=True)
    writer = PackWriter(library.pack_folder(work, cache), work.shape, "uint8")
    assert library.missing_bytes(work, cache) == work.total_bytes
    (writer.place / "pixels.bin").write_bytes(bytes(work.total_bytes))
    assert library.missing_bytes(work, cache) < work.total_bytes
    open_pixels(data, work.contract, cache_folder=cache)
    monkeypatch.setattr("torchloupe.data.pack.location.SPARE_BYTES", 10**18)
    assert open_pixels(data, work.contract, cache_folder=cache).where == "disk"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_build_that_is_killed_again_and_again_ends_in_the_same_bytes(tmp_path, data, monkeypatch):
    monkeypatch.setattr(decoding, "CHUNKS", 4)
    straight = open_pixels(data, choose_contract(data), cache_folder=tmp_path / "other")
    for delay in np.random.default_rng(0).uniform(0, 0.2, 20):
        process = build(tmp_path, 0.1)
        assert process.stdout.readline() == "started\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    pixels = open_pixels(data, choose_contract(data), cache_folder=tmp_path / "cache")
    assert (pixels.content == straight.content).all()
    for name in ("pixels.bin", "blocks.bin", "content.bin", "manifest.json"):
        one, other = (packs_in(tmp_path / place)[0] / name for place in ("cache", "other"))
        assert one.read_bytes() == other.read_bytes()
    assert len(packs_in(tmp_path / "cache")) == 1
