"""Streamed batches: the same from here and from far away, for any ranks, from any step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from web_server import serving

from torchloupe.config.schema import DataConfig
from torchloupe.data.augmentation.augment import Augment
from torchloupe.data.feeds.rank_share import RankShare
from torchloupe.data.shards.sharding import plan_shards, write_shards
from torchloupe.data.shards.store import ShardStore
from torchloupe.data.sources import open_data
from torchloupe.data.split import split_samples
from torchloupe.prepare.data import prepare_data

CPU = torch.device("cpu")
STREAM = DataConfig(pack="stream", lanes=4, mixed_shards=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    drawn = np.random.default_rng(0)
    pixels = drawn.integers(0, 255, (600, 8, 8, 3), dtype=np.uint8)
    data = open_data((pixels, np.arange(600) % 3))
    planned = plan_shards(data, split_samples(data.samples), 50_000, seed=0)
    write_shards(data, planned, folder)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def take(feed, count, start=0):
    batches = feed.batches(start)
    found = [next(batches) for _ in range(count)]
    batches.close()
    return found


def same(a, b):
    return np.array_equal(a.rows, b.rows) and torch.equal(a.images, b.images)


def test_far_and_near_shards_give_the_same_batches_from_any_step(folder):
    near = prepare_data(folder, STREAM)
    wanted = take(near.feed(32, seed=3), 20)  # more than an epoch
    with serving(folder, delay=0.005, failing=0.02) as server:
        far = prepare_data(f"{server.url}/", STREAM)
        found = take(far.feed(32, seed=3), 20)
        assert all(map(same, found, wanted))
        for start in (1, 13, 14, 19):
            again = take(prepare_data(f"{server.url}/", STREAM).feed(32, seed=3), 1, start)
            assert same(again[0], wanted[start])
    assert near.fingerprint == far.fingerprint


def test_an_epoch_has_every_training_image_once(folder):
    data = prepare_data(folder, STREAM)
    feed = data.feed(64)
    rows = np.concatenate([batch.rows for batch in take(feed, feed.steps_per_epoch)])
    assert np.array_equal(np.sort(rows), data.splits.train)


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("mixup", [0.0, 0.5])
def test_ranks_share_the_batches_of_one(folder, ranks, mixup):
    data = prepare_data(folder, STREAM)
    augment = Augment(mixup=mixup, translate=0.1)
    wanted = take(data.feed(32, 1, augment), 5, start=3)
    shares = []
    for rank in range(ranks):
        feed = data.feed(32, 1, augment)
        feed.rank_share = RankShare(rank, ranks)
        shares.append(take(feed, 5, start=3))
    for step, whole in enumerate(wanted):
        parts = [share[step] for share in shares]
        assert np.concatenate([part.rows for part in parts]).tolist() == whole.rows.tolist()
        assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
        assert {part.step_total for part in parts} == {32}


def test_scans_give_each_image_of_a_split_once(folder):
    data = prepare_data(folder, STREAM)
    for split in ("val", "test"):
        rows = np.concatenate([batch.rows for batch in data.scan(split)])
        assert rows.tolist() == data.rows(split).tolist()


def test_a_glance_at_a_few_images_fetches_no_shard(folder):
    with serving(folder, delay=0.005) as server:
        data = prepare_data(f"{server.url}/", STREAM)
        reader, before = data.pixels.reader, len(server.asked)
        rows = data.some_rows(8)
        batch = next(iter(data.scan_rows(rows, CPU)))
        assert np.array_equal(batch.rows, rows)
        assert 0 < len(server.asked) - before <= 8
        assert not reader.store.here()
        list(data.scan("val"))  # a whole split is another matter
        assert reader.store.here()


def test_a_small_cache_gives_the_same_batches(folder, tmp_path):
    wanted = take(prepare_data(folder, STREAM).feed(32), 20)
    with serving(folder) as server:
        small = replace(STREAM, shard_cache_gb=110_000 / 10**9)  # two of the eight that are mixed
        far = prepare_data(f"{server.url}/", small)
        assert any("fetched one by one" in note for note in far.notes)
        found = take(far.feed(32), 20)
        held = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.tar"))
        assert held <= 110_000 + 60_000
    assert all(map(same, found, wanted))


def test_it_looks_further_ahead_where_shards_come_late(folder, monkeypatch):
    monkeypatch.setattr("torchloupe.data.feeds.shard_feed.FIRST_AHEAD", 1)
    monkeypatch.setattr("torchloupe.data.shards.store.HURRY_SECONDS", 0.0)
    asked, old = [], ShardStore.want

    def want(self, numbers, reader=None):
        asked.append(len(numbers))
        old(self, numbers, reader)

    monkeypatch.setattr(ShardStore, "want", want)
    with serving(folder, delay=0.05) as server:
        take(prepare_data(f"{server.url}/", STREAM).feed(32), 30)
    assert max(asked) > asked[0]
