"""Images that can't be decoded, met in the middle of a stream: named, left out, never replaced."""

import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from web_server import serving

from torchloupe.config.schema import DataConfig
from torchloupe.data.augmentation.augment import Augment
from torchloupe.data.feeds.rank_share import RankShare
from torchloupe.data.pack import streamed as module
from torchloupe.data.pack.set_aside import UnreadableError
from torchloupe.data.pack.streamed import draw_neighbours
from torchloupe.errors import DataError
from torchloupe.prepare.data import prepare_data
from torchloupe.system.counter_rng import make_keys

BAD = (13, 57)
STREAM = DataConfig(
    pack="stream", lanes=2, mixed_shards=2, val_fraction=0.0, test_fraction=0.0, bad_fraction=0.05
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "foreign"
    folder.mkdir()
    drawn = np.random.default_rng(0)
    for shard in range(4):
        with tarfile.open(folder / f"part-{shard}.tar", "w") as archive:
            for number in range(20):
                row = shard * 20 + number
                file = io.BytesIO()
                pixels = drawn.integers(0, 255, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(file, "PNG")
                whole = file.getvalue()[:40] if row in BAD else file.getvalue()
                for ending, content in (("png", whole), ("json", b'{"label": "k%d"}' % (row % 2))):
                    info = tarfile.TarInfo(f"{row:05d}.{ending}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    return folder


def epoch_of(data, rank=0, ranks=1, augment=None):
    feed = data.feed(16, 0, augment)
    feed.rank_share = RankShare(rank, ranks)
    batches = feed.batches()
    return [next(batches) for _ in range(feed.steps_per_epoch)]


def test_bad_images_are_left_out_and_named(folder):
    data = prepare_data(folder, STREAM)
    batches = epoch_of(data)
    rows = np.concatenate([batch.rows for batch in batches])
    assert np.array_equal(np.sort(rows), np.delete(np.arange(80), BAD))
    assert sorted(image.row for image in data.pixels.bad) == list(BAD)
    assert data.pixels.bad[0].id == "part-0.tar/00013.png"
    assert data.facts()["set_aside"] == 2
    assert {batch.step_total for batch in batches} == {16}  # as if they had weight 0


@pytest.mark.parametrize("mixup", [0.0, 0.5])
def test_ranks_leave_out_the_same_images(folder, mixup):
    augment = Augment(mixup=mixup)
    wanted = epoch_of(prepare_data(folder, STREAM), augment=augment)
    shares = [epoch_of(prepare_data(folder, STREAM), rank, 3, augment) for rank in range(3)]
    for step, whole in enumerate(wanted):
        parts = [share[step] for share in shares if not share[step].is_padding]
        assert np.concatenate([part.rows for part in parts]).tolist() == whole.rows.tolist()
        assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    left = 80 - sum(len(whole) for whole in wanted)
    assert left == (2 if not mixup else 4)  # what would be mixed with one goes too


def test_a_rank_without_a_sound_image_computes_padding(folder):
    data = prepare_data(folder, STREAM)
    feed = data.feed(16)
    step = next(s for s in range(5) if set(feed.order.batch(s).tolist()) & set(BAD))
    place = next(k for k, row in enumerate(feed.order.batch(step)) if row in BAD)
    feed.rank_share = RankShare(place, 16)
    batch = next(feed.batches(step))
    assert batch.is_padding
    assert [weight for _, weight in batch.micro(1)] == [0.0]


def test_a_scan_leaves_them_out(folder):
    data = prepare_data(folder, STREAM)
    rows = np.concatenate([batch.rows for batch in data.scan("train")])
    assert rows.tolist() == np.delete(np.arange(80), BAD).tolist()


def test_too_many_bad_images_end_it(folder):
    config = DataConfig(**{**vars(STREAM), "bad_fraction": 0.02})
    with pytest.raises(UnreadableError, match="2 images of 80 can't be read"):
        epoch_of(prepare_data(folder, config))


def test_asked_for_by_itself_a_bad_image_is_an_error(folder):
    pixels = prepare_data(folder, STREAM).pixels
    with pytest.raises(DataError, match=r"part-0\.tar/00013\.png can't be decoded"):
        pixels.gather(np.array([12, 13]))
    assert pixels.gather(np.array([12, 14])).shape == (2, 8, 8, 3)


def test_only_shards_can_be_streamed():
    with pytest.raises(DataError, match="only tar shards can be streamed"):
        prepare_data("digits", STREAM)


def test_statistics_come_from_neighbours_and_are_the_same_from_far_away(folder, monkeypatch):
    monkeypatch.setattr(module, "STATISTICS_IMAGES", 32)
    monkeypatch.setattr(module, "NEIGHBOURS", 8)
    near = prepare_data(folder, STREAM)
    rows = draw_neighbours(
        near.splits.train, near.pixels.reader.places, near.pixels.content, most=32
    )
    sound = np.setdiff1d(rows, BAD)
    pixels = near.pixels.gather(sound).numpy().astype(np.float64) / 255
    assert np.allclose(near.contract.mean, pixels.mean((0, 1, 2)), atol=1e-6)
    assert np.allclose(near.contract.std, pixels.std((0, 1, 2)), atol=1e-6)
    assert set(BAD) & set(rows.tolist()) == {image.row for image in near.pixels.bad}
    with serving(folder) as server:
        far = prepare_data(f"{server.url}/{{part-0,part-1,part-2,part-3}}.tar", STREAM)
    assert (far.contract.mean, far.contract.std) == (near.contract.mean, near.contract.std)


def test_neighbours_are_drawn_by_content_and_lie_side_by_side():
    places = np.array([[shard, 512 * number, 100] for shard in range(30) for number in range(40)])
    content = make_keys(map(str, range(1200)))
    listed = np.random.default_rng(0).permutation(1200)
    rows = draw_neighbours(listed, places, content, 256)
    assert len(np.unique(rows)) == len(rows) == 256
    groups = rows.reshape(-1, 16)
    assert (np.diff(groups, axis=1) == 1).all()
    assert len(np.unique(places[rows, 0])) > 8
    assert np.array_equal(draw_neighbours(np.arange(1200), places, content, 256), rows)
    assert np.array_equal(draw_neighbours(listed[:50], places, content, 64), listed[:50])
    assert len(draw_neighbours(listed, places, content, 3)) == 3
