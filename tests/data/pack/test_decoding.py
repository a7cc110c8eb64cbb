"""Decoding a set: in chunks that depend on the set alone, by all threads to the end."""

import threading

import numpy as np
import pytest
from pictures import encode, noise

from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.pack import decoding
from torchloupe.data.pack.decoding import Decoding, rows_per_chunk
from torchloupe.data.pack.pixels import open_pixels
from torchloupe.data.sources import open_data

FILES = ("pixels.bin", "blocks.bin", "content.bin", "manifest.json")
COUNT = 9


@pytest.fixture
def data(tmp_path):
    for number in range(COUNT):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(noise(seed=number), "PNG"))
    return open_data(tmp_path / "photos")


@pytest.mark.parametrize(
    ("row_bytes", "count", "rows"),
    [
        (224 * 224 * 3, 24, 1),
        (224 * 224 * 3, 500, 2),
        (224 * 224 * 3, 1_000, 4),
        (224 * 224 * 3, 10**6, 32),  # 8 MiB, rounded down
        (28 * 28, 2_000, 8),
        (28 * 28, 70_000, 512),
        (10**9, 10**6, 1),
        (28 * 28, 0, 1),
    ],
)
def test_chunks_of_few_images_are_small(row_bytes, count, rows):
    assert rows_per_chunk(row_bytes, count) == rows


def test_a_few_images_are_decoded_by_all_threads(data, monkeypatch):
    monkeypatch.setattr(decoding, "thread_count", lambda: COUNT)
    contract = choose_contract(data, size="12")
    together, reader = threading.Barrier(COUNT, timeout=60), data.reader

    class Meeting:
        def read(self, row):
            together.wait()  # for every other image to be read, too
            return reader.read(row)

    object.__setattr__(data, "reader", Meeting())
    content, bad = Decoding(data, contract).run()
    assert len(content) == COUNT and not bad


def build(data, cache, monkeypatch, threads, chunks, until=None):
    """Build the pack in `cache` and return its files; None if it is stopped after `until`."""
    monkeypatch.setattr(decoding, "thread_count", lambda: threads)
    monkeypatch.setattr(decoding, "CHUNKS", chunks)

    def follow(done, _):
        if until is not None and done >= until:
            raise KeyboardInterrupt

    contract = choose_contract(data, size="12")
    try:
        open_pixels(data, contract, pack="disk", cache_folder=cache, progress=follow)
    except KeyboardInterrupt:
        return None
    (folder,) = (p for p in (cache / "packs").iterdir() if p.name[0] != ".")
    return [(folder / name).read_bytes() for name in FILES]


def test_a_pack_has_the_same_bytes_for_any_number_of_threads(tmp_path, data, monkeypatch):
    one, many = (build(data, tmp_path / f"{n}", monkeypatch, n, chunks=4) for n in (1, 5))
    assert one == many


@pytest.mark.parametrize(("before", "after"), [(1, COUNT), (COUNT, 1), (2, 4), (4, 2)])
def test_a_pack_begun_in_chunks_of_another_size_ends_in_the_same_bytes(
    tmp_path, data, monkeypatch, before, after
):
    straight = build(data, tmp_path / "straight", monkeypatch, 1, after)
    assert build(data, tmp_path / "begun", monkeypatch, 2, before, until=COUNT) is None
    (left,) = (tmp_path / "begun" / "packs").glob(".*building*/journal")
    assert left.read_bytes()  # chunks of another size are in it
    assert build(data, tmp_path / "begun", monkeypatch, 2, after) == straight
    assert np.frombuffer(straight[0], np.uint8).any()
