"""Many thumbnails in one picture."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from torchloupe.report.sprite import make_sprite, plan_sprite, shrink, thumbnail_size


def flat_tiles(count, height=12, width=16):
    """Tiles of one grey each, which any compression keeps."""
    tiles = np.zeros((count, height, width, 3), dtype=np.uint8)
    tiles += (np.arange(count) * 7 % 256).astype(np.uint8)[:, None, None, None]
    return tiles


def open_sheet(sprite):
    return np.asarray(Image.open(io.BytesIO(sprite.encoded)).convert("RGB")).astype(int)


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_each_tile_is_where_the_page_looks_for_it(count):
    tiles = flat_tiles(count)
    sprite = make_sprite(tiles, 10**6)
    sheet = open_sheet(sprite)
    assert sheet.shape == (sprite.rows * 12, sprite.columns * 16, 3)
    for k in range(count):
        top, left = k // sprite.columns * 12, k % sprite.columns * 16
        assert abs(sheet[top + 6, left + 8, 0] - int(tiles[k, 0, 0, 0])) <= 6
    assert sprite.uri.startswith("data:image/webp;base64,")


def test_a_sprite_of_noise_stays_below_its_bytes():
    noise = np.random.default_rng(0).integers(0, 256, (900, 28, 28, 3), dtype=np.uint8)
    sprite = make_sprite(noise, 150_000)
    assert len(sprite.encoded) < 170_000
    assert sprite.count == 900


def test_a_plan_is_laid_out_as_the_sprite_and_stands_for_no_other_picture():
    tiles = flat_tiles(30)
    planned, made = plan_sprite(tiles), make_sprite(tiles, 10**6)
    assert replace(made, encoded=planned.encoded) == planned
    assert planned.uri not in (made.uri, plan_sprite(tiles).uri)


def test_no_tiles_give_no_picture():
    sprite = make_sprite(np.zeros((0, 4, 4, 3), dtype=np.uint8), 1000)
    assert (sprite.count, sprite.encoded) == (0, b"")


@pytest.mark.parametrize(
    ("height", "width", "count", "size"),
    [(28, 28, 10_000, (28, 28)), (224, 224, 100, (96, 96)), (200, 400, 10_000, (20, 40))],
)
def test_thumbnails_are_smaller_where_there_are_many(height, width, count, size):
    assert thumbnail_size(height, width, count) == size


def test_shrinking_averages():
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    image[:2] = 200
    assert shrink(image, (2, 1))[:, 0, 0].tolist() == [200, 0]
    assert shrink(image, (4, 4)) is image
