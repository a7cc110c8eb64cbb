"""Far sets as they are opened: every request that is made, and failures that mean nothing."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tar_files import put_foreign
from web_server import serving

from torchloupe.data.shards import network
from torchloupe.data.shards.sharding import plan_shards, write_shards
from torchloupe.data.sources import open_data
from torchloupe.data.sources.shard_inputs import open_inputs
from torchloupe.data.split import split_samples
from torchloupe.errors import ResourceError

ASKED = ("HEAD", "/index.safetensors")
FETCHED = ("GET", "/index.safetensors")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    pixels = np.random.default_rng(0).integers(0, 255, (90, 8, 8, 3), dtype=np.uint8)
    data = open_data((pixels, np.arange(90) % 3))
    write_shards(data, plan_shards(data, split_samples(data.samples), 20_000, 0), folder)
    return folder


def test_the_index_is_asked_for_once_and_fetched_once(folder):
    names = ",".join(path.stem for path in folder.glob("*.tar"))
    with serving(folder) as server:
        for text in (f"{server.url}/", f"{server.url}/{{{names}}}.tar"):
            before = len(server.asked)
            open_data(text)
            first = [] if before else [FETCHED]  # the second text finds it kept
            assert server.asked[before:] == [ASKED, *first]
        before = len(server.asked)
        open_inputs([f"{server.url}/"])
        assert server.asked[before:] == [ASKED]


def test_those_who_open_a_set_at_one_moment_fetch_its_index_once(folder):
    with serving(folder, delay=0.05) as server, ThreadPoolExecutor(6) as pool:
        stamps = {one.stamp for one in pool.map(open_data, [f"{server.url}/"] * 6)}
        assert len(stamps) == 1
        assert server.asked.count(FETCHED) == 1


def test_an_index_that_was_damaged_where_it_is_kept_is_fetched_again(folder, cache):
    with serving(folder) as server:
        wanted = open_data(server.url).stamp
        (kept,) = cache.rglob("indexes/*.safetensors")
        whole = kept.read_bytes()
        kept.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
        assert open_data(server.url).stamp == wanted
        assert server.asked.count(FETCHED) == 2
        assert kept.read_bytes() == whole


@pytest.mark.parametrize("text", ["{url}/", "{url}/train-{{000000..000001}}.tar"])
def test_a_server_that_does_not_answer_is_no_set_without_an_index(folder, monkeypatch, text):
    monkeypatch.setattr(network, "TRIES", 2)
    monkeypatch.setattr(network, "FIRST_PAUSE_SECONDS", 0.01)
    with serving(folder) as server:
        address = text.format(url=server.url)
    with pytest.raises(ResourceError, match=r"index\.safetensors can't be read: .*2 times"):
        open_data(address)


def test_a_page_in_place_of_an_index_counts_as_none(tmp_path):
    put_foreign(tmp_path / "foreign")
    (tmp_path / "foreign" / "index.safetensors").write_text("<!doctype html>")
    with serving(tmp_path / "foreign") as server:
        assert len(open_data(f"{server.url}/{{000..003}}.tar").samples) == 20
