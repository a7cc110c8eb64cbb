"""Pixels: decoded once, wherever they go; bad ones named and never given out."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import encode, noise

from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.pack import location
from torchloupe.data.pack import pixels as pixels_module
from torchloupe.data.pack.format import READER
from torchloupe.data.pack.pixels import open_pixels, sound_rows, statistics
from torchloupe.data.samples import Samples, make_ids
from torchloupe.data.sources import open_data
from torchloupe.data.sources.source import ArrayReader, Data
from torchloupe.errors import DataError, ResourceError, UsageError
from torchloupe.system import cache
from torchloupe.system.counter_rng import make_key
from torchloupe.system.sealed import seal, unseal


def photos(folder, count=12, size=(20, 24)):
    for number in range(count):
        path = folder / "ab"[number % 2] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(noise(*size, seed=number), "PNG"))
    return open_data(folder)


def arrays(images):
    ids = make_ids(range(len(images)))
    labels = np.arange(len(images)) % 2
    return Data("x", "arrays", Samples(ids, labels, ("a", "b")), None, ArrayReader(images))


@pytest.fixture
def data(tmp_path):
    return photos(tmp_path / "photos")


@pytest.mark.parametrize(
    ("pack", "where"), [("disk", "disk"), ("memory", "memory"), ("off", "decoded on the fly")]
)
def test_pixels_are_those_of_the_contract_wherever_they_are(tmp_path, data, pack, where):
    contract = choose_contract(data, size="16")
    seen = []
    pixels = open_pixels(
        data,
        contract,
        pack=pack,
        cache_folder=tmp_path / "cache",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert pixels.where == where and len(pixels) == 12 and pixels.bad == ()
    rows = np.array([7, 0, 7, 11])
    found = pixels.gather(rows)
    assert found.dtype == torch.uint8 and found.shape == (4, 16, 16, 3)
    for image, row in zip(found, rows, strict=True):
        assert (image.numpy() == contract.decode(data.reader.read(int(row)))).all()
    assert seen[-1] == (12, 12)
    assert seen == sorted(seen)
    assert pixels.content.tolist() == [make_key(data.reader.read(k)) for k in range(12)]
    assert (tmp_path / "cache").exists() == (pack == "disk")


def test_pixels_gathered_are_a_copy(tmp_path, data):
    pixels = open_pixels(data, choose_contract(data), cache_folder=tmp_path / "cache")
    rows = np.arange(3)
    first = pixels.gather(rows)
    before = first.clone()
    first.zero_()
    assert torch.equal(pixels.gather(rows), before)


def test_pixels_of_arrays_are_used_where_they_are(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1), np.uint8)
    data = arrays(images)
    pixels = open_pixels(data, choose_contract(data), cache_folder=tmp_path / "cache")
    assert pixels.array is images and pixels.where == "memory"
    assert not (tmp_path / "cache").exists()
    assert pixels.content[3] == make_key(images[3].tobytes())


def test_pixels_of_turned_arrays_are_the_same(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (9, 3, 8, 6), np.uint8).transpose(0, 2, 3, 1)
    data, straight = arrays(images), arrays(np.ascontiguousarray(images))
    pixels = open_pixels(data, choose_contract(data), cache_folder=tmp_path)
    rows = np.array([4, 1, 1])
    assert (pixels.gather(rows).numpy() == images[rows]).all()
    assert pixels.gather(rows).is_contiguous()
    same = open_pixels(straight, choose_contract(straight), cache_folder=tmp_path)
    assert (same.content == pixels.content).all()


def test_pixels_of_arrays_of_another_size_are_resized(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (9, 40, 40, 3), np.uint8)
    data = arrays(images)
    contract = choose_contract(data, size="10")
    pixels = open_pixels(data, contract, pack="memory", cache_folder=tmp_path)
    assert (pixels.gather(np.array([2]))[0].numpy() == contract.decode(images[2])).all()


def test_pixels_of_floats_set_aside_what_is_not_finite(tmp_path):
    images = np.random.default_rng(0).random((30, 4, 4, 3), np.float32)
    images[7, 1, 1, 1], images[20, 0, 0, 0] = np.nan, np.inf
    data = arrays(images)
    pixels = open_pixels(data, choose_contract(data), cache_folder=tmp_path)
    assert [(bad.row, bad.id) for bad in pixels.bad] == [(7, "7"), (20, "20")]
    assert pixels.bad[0].reason == "pixels that are not finite numbers"
    with pytest.raises(DataError, match=r"7 was set aside .* not finite"):
        pixels.gather(np.array([6, 7]))


@pytest.mark.parametrize("pack", ["disk", "memory", "off"])
def test_bad_images_are_named_with_their_reason_and_never_given_out(tmp_path, data, pack):
    photo = tmp_path / "photos"
    (photo / "a" / "000.png").write_bytes(b"<!DOCTYPE html>")
    (photo / "b" / "003.png").write_bytes((photo / "b" / "003.png").read_bytes()[:-30])
    data = open_data(photo)
    for name in ("a/004.png", "a/006.png"):
        (photo / name).unlink()
    contract = choose_contract(data)
    for _ in range(2):  # once built, once found in the cache
        pixels = open_pixels(data, contract, pack=pack, cache_folder=tmp_path / "cache")
        assert {(bad.id, bad.reason) for bad in pixels.bad} == {
            ("a/000.png", "not an image: it is a web page (HTML)"),
            ("b/003.png", "truncated PNG"),
            ("a/004.png", "there is no such file"),
            ("a/006.png", "there is no such file"),
        }
        assert sorted(b.row for b in pixels.bad) == [b.row for b in pixels.bad]
        for bad in pixels.bad:
            assert data.samples.ids[bad.row] == bad.id
            with pytest.raises(DataError, match="was set aside and can't be used"):
                pixels.gather(np.array([bad.row]))
        rows = sound_rows(pixels, 0.5)
        assert len(rows) == 8 and not set(rows) & {bad.row for bad in pixels.bad}
        assert pixels.gather(rows).shape[0] == 8
    counted = r"\(2 not opened, 1 not an image, 1 truncated\)"
    with pytest.raises(DataError, match=rf"4 images of 12 can't .* 1\.0% {counted}: a/000"):
        sound_rows(pixels)


def test_an_image_that_can_be_read_again_is(tmp_path, data):
    path = tmp_path / "photos" / "a" / "000.png"
    kept = path.read_bytes()
    path.unlink()
    contract = choose_contract(data)
    assert len(open_pixels(data, contract, cache_folder=tmp_path / "cache").bad) == 1
    path.write_bytes(kept)
    pixels = open_pixels(data, contract, cache_folder=tmp_path / "cache")
    assert pixels.bad == ()
    assert any("can be read now" in note for note in pixels.notes)


@pytest.mark.parametrize("is_readable", [True, False])
def test_pack_of_an_earlier_reader_is_built_again_where_its_bad_images_can_be_read(
    tmp_path, data, is_readable
):
    contract, cache = choose_contract(data), tmp_path / "cache"
    if not is_readable:
        (tmp_path / "photos" / "a" / "000.png").write_bytes(b"no image")
        data = open_data(tmp_path / "photos")
    open_pixels(data, contract, cache_folder=cache)
    (folder,) = (path for path in (cache / "packs").iterdir() if path.name[0] != ".")
    manifest, _ = unseal((folder / "manifest.json").read_bytes())
    assert manifest.pop("reader") == READER
    name = "a/000.png"
    row = data.samples.ids.tolist().index(name)
    manifest["bad"] = [[row, name, "damaged JPEG: no marker where one must be", False]]
    (folder / "manifest.json").write_bytes(seal(manifest))
    pixels = open_pixels(data, contract, cache_folder=cache)
    assert (pixels.bad == ()) is is_readable
    assert any("can be read now" in note for note in pixels.notes) is is_readable


def test_an_image_that_changes_while_decoded_on_the_fly_is_named(tmp_path, data):
    pixels = open_pixels(data, choose_contract(data), pack="off")
    (tmp_path / "photos" / "a" / "000.png").write_bytes(b"gone")
    row = data.samples.ids.tolist().index("a/000.png")
    with pytest.raises(DataError, match=r"a/000\.png could be decoded at the start and can't"):
        pixels.gather(np.array([row]))


def test_a_second_opening_decodes_nothing(tmp_path, data):
    contract = choose_contract(data)
    first = open_pixels(data, contract, cache_folder=tmp_path / "cache")
    assert first.notes == ("decoded 12 images into a pack of 17.3 kB",)
    shutil.rmtree(tmp_path / "photos")
    second = open_pixels(data, contract, cache_folder=tmp_path / "cache")
    assert second.notes == ()
    rows = np.arange(12)
    assert torch.equal(first.gather(rows), second.gather(rows))
    assert (first.content == second.content).all()


def test_another_contract_or_another_set_gets_another_pack(tmp_path, data):
    cache = tmp_path / "cache"
    open_pixels(data, choose_contract(data), cache_folder=cache)
    open_pixels(data, choose_contract(data, size="8"), cache_folder=cache)
    path = tmp_path / "photos" / "a" / "000.png"
    path.write_bytes(encode(noise(seed=99), "PNG"))
    open_pixels(open_data(tmp_path / "photos"), choose_contract(data), cache_folder=cache)
    assert len([p for p in (cache / "packs").iterdir() if not p.name.startswith(".")]) == 3


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_can_not_be_written_leads_to_memory_as_a_user(tmp_path, data):
    (tmp_path / "cache").mkdir(mode=0o500)
    pixels = open_pixels(data, choose_contract(data), cache_folder=tmp_path / "cache")
    assert pixels.where == "memory"


def test_a_cache_that_can_not_be_written_leads_to_memory(tmp_path, data):
    (tmp_path / "cache").write_text("a file where the folder should be")
    contract = choose_contract(data)
    pixels = open_pixels(data, contract, cache_folder=tmp_path / "cache")
    assert pixels.where == "memory" and "no pack on disk" in pixels.notes[0]
    with pytest.raises(ResourceError, match="no pack on disk"):
        open_pixels(data, contract, pack="disk", cache_folder=tmp_path / "cache")


def test_no_home_leads_to_memory(monkeypatch, data):
    monkeypatch.setattr(cache.platformdirs, "user_cache_dir", lambda name: f"~/.cache/{name}")
    contract = choose_contract(data)
    assert open_pixels(data, contract).where == "memory"
    with pytest.raises(ResourceError, match="there is no cache folder for a pack"):
        open_pixels(data, contract, pack="disk")
    assert not Path("~").exists()


def test_the_users_own_cache_folder_is_the_default(monkeypatch, tmp_path, data):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    if not str(cache.platformdirs.user_cache_dir("torchloupe")).startswith(str(tmp_path)):
        pytest.skip("this system keeps caches elsewhere")
    assert open_pixels(data, choose_contract(data)).where == "disk"
    assert (tmp_path / "own" / "torchloupe" / "packs").is_dir()


def test_a_full_disk_leads_to_memory_and_a_full_memory_to_neither(monkeypatch, tmp_path, data):
    contract = choose_contract(data)
    monkeypatch.setattr(location, "SPARE_BYTES", 10**18)
    pixels = open_pixels(data, contract, cache_folder=tmp_path / "cache")
    assert pixels.where == "memory"
    assert "no pack on disk: it needs 17.3 kB and 1e+06 TB to spare, and" in pixels.notes[0]
    with pytest.raises(ResourceError, match=r"a pack needs 17\.3 kB and .* to spare"):
        open_pixels(data, contract, pack="disk", cache_folder=tmp_path / "cache")
    monkeypatch.setattr(location, "MEMORY_SHARE", 1e-12)
    pixels = open_pixels(data, contract, cache_folder=tmp_path / "cache")
    assert pixels.where == "decoded on the fly"
    assert "their pixels need 17.3 kB, more than half of the" in pixels.notes[-1]
    rows = np.array([5, 2, 5])
    assert (pixels.gather(rows)[1].numpy() == contract.decode(data.reader.read(2))).all()
    monkeypatch.setattr(location, "available_memory_bytes", lambda: 17_000)
    with pytest.raises(ResourceError, match=r"need 17\.3 kB of memory, and 17 kB are free"):
        open_pixels(data, contract, pack="memory")


def test_too_many_open_files_is_no_fault_of_the_image(tmp_path, data):
    class Exhausted:
        def read(self, row):
            raise DataError(os.strerror(errno.EMFILE))

    contract = choose_contract(data)
    broken = Data("x", "folder", data.samples, None, Exhausted())
    with pytest.raises(ResourceError, match="Too many open files"):
        open_pixels(broken, contract, cache_folder=tmp_path / "cache")
    assert [p for p in (tmp_path / "cache" / "packs").iterdir() if "building" in p.name] == []


def test_pixels_refuse_no_images_and_unknown_places(tmp_path, data):
    contract = choose_contract(data)
    with pytest.raises(UsageError, match=r"data\.pack is 'ram'"):
        open_pixels(data, contract, pack="ram")
    empty = Data("x", "folder", data.samples.take(np.zeros(0, np.int64)), None, data.reader)
    with pytest.raises(DataError, match="there are no images"):
        open_pixels(empty, contract)


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_are_exact_in_any_order(channels):
    images = np.random.default_rng(0).integers(0, 256, (700, 8, 8, channels), np.uint8)
    data = arrays(images)
    pixels = open_pixels(data, choose_contract(data))
    rows = np.arange(10, 690)
    mean, std = statistics(pixels, rows)
    seen = images[rows] / 255
    assert mean == pytest.approx(seen.mean((0, 1, 2)), abs=1e-12)
    assert std == pytest.approx(seen.std((0, 1, 2)), abs=1e-12)
    assert statistics(pixels, np.random.default_rng(1).permutation(rows)) == (mean, std)


def test_statistics_of_many_images_are_of_every_nth(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (700, 8, 8, 3), np.uint8)
    data = arrays(images)
    pixels = open_pixels(data, choose_contract(data))
    monkeypatch.setattr(pixels_module, "STATISTICS_BYTES", 250 * 8 * 8 * 3)
    mean, std = statistics(pixels, np.arange(10, 690))
    assert mean == pytest.approx((images[10:690:3] / 255).mean((0, 1, 2)), abs=1e-12)
    assert std == pytest.approx((images[10:690:3] / 255).std((0, 1, 2)), abs=1e-12)


def test_statistics_of_floats_are_of_values_scaled_to_their_range():
    images = np.random.default_rng(0).uniform(-1, 1, (50, 8, 8, 2)).astype(np.float32)
    data = arrays(images)
    contract = choose_contract(data)
    pixels = open_pixels(data, contract)
    contract = contract.with_statistics(*statistics(pixels, np.arange(50)))
    normal = contract.normalise(pixels.gather(np.arange(50)))
    assert normal.mean((0, 2, 3)).abs().max() < 1e-5
    assert (normal.std((0, 2, 3)) - 1).abs().max() < 1e-3


def test_statistics_of_a_constant_channel_divide_by_nothing():
    data = arrays(np.full((4, 5, 5, 1), 9, np.uint8))
    pixels = open_pixels(data, choose_contract(data))
    assert statistics(pixels, np.arange(4)) == (pytest.approx((9 / 255,)), (1.0,))
    with pytest.raises(DataError, match="no images to take the mean of"):
        statistics(pixels, np.arange(0))
