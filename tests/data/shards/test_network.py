"""Requests over a real server that is slow, fails on purpose, or does not know ranges."""

from itertools import chain, repeat
from types import SimpleNamespace

import pytest
from web_server import serving

from torchloupe.data.shards import network as module
from torchloupe.data.shards.network import open_network
from torchloupe.errors import DataError, ResourceError, UsageError


@pytest.fixture
def content(tmp_path):
    content = bytes(range(256)) * 400
    (tmp_path / "a.tar").write_bytes(content)
    return content


def test_failed_requests_are_repeated_until_every_byte_is_there(tmp_path, content, monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    with serving(tmp_path, failing=0.3) as server:
        network = open_network(server.url)
        address = f"{server.url}/a.tar"
        assert network.facts(address).size == len(content)
        assert network.facts(address).tag
        for start in range(0, 60_000, 1_500):
            assert network.read(address, start, start + 777) == content[start : start + 777]
        assert server.failures > 5
        assert network.repeats > 5  # fsspec asks in another way by itself, once


def test_a_server_in_trouble_has_not_lost_the_file(tmp_path, content, monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    with serving(tmp_path, failing=0.5) as server:
        draws = chain((0.0, 0.9) * 4, repeat(0.9))  # 503 four times, and then no more
        server.drawn = SimpleNamespace(random=draws.__next__)
        network = open_network(server.url)
        assert network.facts(f"{server.url}/a.tar").size == len(content)
        assert server.failures == 4
        assert network.repeats == 2  # fsspec asks in two ways each time


def test_a_server_without_ranges_still_gives_pieces(tmp_path, content):
    with serving(tmp_path, ranges=False) as server:
        network = open_network(server.url)
        assert network.read(f"{server.url}/a.tar", 1000, 1010) == content[1000:1010]


def test_a_missing_file_is_an_error_at_once(tmp_path, content):
    with serving(tmp_path) as server:
        network = open_network(server.url)
        with pytest.raises(DataError, match=r"b\.tar is not there"):
            network.read(f"{server.url}/b.tar", 0, 10)
        assert not network.exists(f"{server.url}/b.tar")
        assert network.repeats == 0


def test_a_server_that_is_gone_is_named_in_the_end(tmp_path, content, monkeypatch):
    monkeypatch.setattr(module, "TRIES", 3)
    with serving(tmp_path) as server:
        address = f"{server.url}/a.tar"
    with pytest.raises(ResourceError, match=r"a\.tar can't be read: .*3 times"):
        open_network(address).read(address, 0, 10)


def test_calls_that_hang_are_given_up(monkeypatch):
    monkeypatch.setattr(module, "CALL_SECONDS", 0.05)
    done = module.threading.Event()
    with pytest.raises(TimeoutError):
        module._in_time(done.wait)
    done.set()


def test_other_protocols_go_through_fsspec_and_unknown_ones_are_refused():
    network = open_network("memory://set/a.tar")
    network.write("memory://set/a.tar", b"0123456789")
    assert network.read("memory://set/a.tar", 2, 5) == b"234"
    assert network.matches("memory://set/*.tar") == ["memory:///set/a.tar"]
    with pytest.raises(UsageError, match="no protocol"):
        open_network("odd-one://set/a.tar")


def test_an_extra_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(module.EXTRAS, "s3", ("s3", "a_package_that_is_not_there"))
    with pytest.raises(UsageError) as caught:
        open_network("s3://set/a.tar")
    assert "torchloupe[s3]" in caught.value.hint
