"""Blocks: which rows they cover, and that every damage is found where it is asked for."""

import numpy as np
import pytest

from torchloupe.data.pack.blocks import BLOCK_BYTES, Blocks, digest_blocks, rows_per_block


@pytest.mark.parametrize(
    ("row_bytes", "rows"),
    [(1, 65_536), (784, 64), (3072, 16), (65_536, 1), (150_528, 1), (0, 65536)],
)
def test_rows_per_block_is_a_power_of_two_near_the_size_of_a_block(row_bytes, rows):
    assert rows_per_block(row_bytes) == rows
    assert rows == 1 or rows * row_bytes <= BLOCK_BYTES


@pytest.mark.parametrize(("count", "row_bytes"), [(37, 100), (37, 100_000), (1, 5)])
@pytest.mark.parametrize("block_rows", [1, 4, 64])
def test_blocks_find_the_damage_that_is_asked_for(count, row_bytes, block_rows):
    rows = np.random.default_rng(0).integers(0, 256, (count, row_bytes), np.uint8)
    digests = digest_blocks(rows, block_rows)
    sound = Blocks(rows, digests, block_rows, threads=2)
    assert len(digests) == 16 * sound.count
    assert sound.find_damage(np.arange(count)[::-3]) is None and sound.find_damage() is None
    for damaged in {0, count // 2, count - 1}:
        spoilt = rows.copy()
        spoilt[damaged, -1] ^= 1
        first = damaged // block_rows * block_rows
        others = np.array([k for k in range(count) if k // block_rows != first // block_rows], int)
        blocks = Blocks(spoilt, digests, block_rows, threads=2)
        assert blocks.find_damage(others) is None
        for _ in range(2):
            assert blocks.find_damage(np.array([damaged, damaged])) == first
            assert blocks.find_damage() == first


def test_blocks_that_were_found_sound_are_not_read_again():
    rows = np.zeros((8, 10), np.uint8)
    blocks = Blocks(rows, digest_blocks(rows, 2), 2, threads=1)
    assert blocks.find_damage(np.array([2, 3])) is None
    rows[3] = rows[7] = 1
    assert blocks.find_damage(np.array([2, 3])) is None
    assert blocks.find_damage() == 6
