"""Planted copies are found, other images are not, and many hashes take little time."""

import io
import time

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from torchloupe.checks.near_copies import (
    MOST_COMPARED,
    find_close_hashes,
    find_near_copies,
    take_prints,
)

SIZE = 96
KINDS = ("same", "resized", "quality 30", "cropped", "brightened", "mirrored")


def draw_scene(seed: int) -> Image.Image:
    """An image with structure at several scales, as photographs have it."""
    rng = np.random.default_rng(seed)
    total = np.zeros((SIZE, SIZE, 3))
    for cells, strength in ((4, 60), (8, 40), (16, 25)):
        noise = rng.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        for channel in range(3):
            plane = Image.fromarray(noise[:, :, channel]).resize((SIZE, SIZE), Image.BICUBIC)
            total[:, :, channel] += np.asarray(plane)
    return Image.fromarray(np.clip(110 + total, 0, 255).astype(np.uint8))


def change(image: Image.Image, kind: str) -> Image.Image:
    """A copy as people make them."""
    if kind == "resized":
        return image.resize((50, 50)).resize((SIZE, SIZE))
    if kind == "quality 30":
        file = io.BytesIO()
        image.save(file, "JPEG", quality=30)
        return Image.open(file)
    if kind == "cropped":
        return image.crop((2, 3, SIZE - 3, SIZE - 2)).resize((SIZE, SIZE))
    if kind == "brightened":
        return ImageEnhance.Brightness(image).enhance(1.25)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if kind == "mirrored" else image


def stack(images: list[Image.Image]) -> NDArray[np.uint8]:
    return np.stack([np.asarray(image.convert("RGB")) for image in images])


@pytest.fixture(scope="module")
def scenes() -> list[Image.Image]:
    return [draw_scene(seed) for seed in range(40)]


@pytest.mark.parametrize("kind", KINDS)
def test_copy_is_found_and_nothing_else(kind: str, scenes: list[Image.Image]) -> None:
    found = find_near_copies(take_prints(stack([*scenes, change(scenes[7], kind)])))
    assert [(copy.row, copy.other, copy.is_mirrored) for copy in found] == [
        (7, 40, kind == "mirrored")
    ]
    assert found[0].likeness > 0.9


def test_copies_of_grey_images_are_found(scenes: list[Image.Image]) -> None:
    grey = stack([*scenes, scenes[3]]).mean(axis=3, keepdims=True).astype(np.uint8)
    assert [(c.row, c.other) for c in find_near_copies(take_prints(grey))] == [(3, 40)]


def test_images_without_detail_are_left_out() -> None:
    ramp = np.linspace(40, 60, 64)[:, None, None] * np.ones((1, 64, 3))
    images = np.stack([ramp, ramp + 5, np.full_like(ramp, 128), np.full_like(ramp, 127)])
    assert find_near_copies(take_prints(images.astype(np.uint8))) == []


def test_the_same_shape_in_another_colour_is_no_copy(scenes: list[Image.Image]) -> None:
    image = np.asarray(scenes[0])
    assert find_near_copies(take_prints(np.stack([image, image[:, :, ::-1]]))) == []


def test_no_image_has_no_prints() -> None:
    prints = take_prints(np.zeros((0, 8, 8, 3), np.uint8))
    assert prints.whole.shape == (0,)
    assert find_near_copies(prints) == []


@pytest.mark.parametrize("count", [500, MOST_COMPARED + 20_000])
def test_close_hashes_are_found_among_few_and_many(count: int) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    flips = np.uint64(1) << rng.integers(0, 64, 100).astype(np.uint64)
    hashes[-100:] = hashes[:100] ^ flips
    start = time.perf_counter()
    pairs = find_close_hashes(hashes, 3)
    assert time.perf_counter() - start < 20
    assert sorted(map(tuple, pairs.tolist())) == [(k, count - 100 + k) for k in range(100)]
