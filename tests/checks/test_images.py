"""Mistakes in images as people make them; sound images give no verdict."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from torchloupe.checks.images import find_image_mistakes, judge_changes


def photographs(count: int = 24, side: int = 48) -> NDArray[np.uint8]:
    """Coloured images [N, H, W, 3] whose neighbouring pixels are alike."""
    rng = np.random.default_rng(0)
    blocks = rng.uniform(40, 215, (count, 8, 8, 1)) + rng.normal(0, 30, (count, 8, 8, 3))
    cells = np.kron(blocks, np.ones((1, side // 8, side // 8, 1)))
    smooth = sum(np.roll(cells, k, axis) for axis in (1, 2) for k in range(-2, 3)) / 10
    return np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 250).astype(np.uint8)


def as_floats(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images [N, C, H, W] around 0, as a model gets them."""
    return ((images.astype(np.float32) / 255 - 0.5) / 0.25).transpose(0, 3, 1, 2)


def names(images: NDArray[np.float32], *, is_scaled: bool = True) -> list[tuple[str, str]]:
    return [(v.verdict, v.level) for v in find_image_mistakes(images, is_scaled=is_scaled)]


PHOTOS = photographs()


def test_sound_images_give_no_verdict() -> None:
    digits = load_digits().images.astype(np.float32)[:, None]
    assert names(as_floats(PHOTOS), is_scaled=False) == []
    assert names(digits / 16) == []
    assert names(as_floats(PHOTOS)[:3]) == []
    assert names(np.zeros((0, 3, 8, 8), np.float32)) == []


def test_images_that_an_integer_division_made_black_are_named() -> None:
    assert names(as_floats(PHOTOS // 255)) == [("blank-images", "error")]


def test_some_blank_images_are_a_warning() -> None:
    images = PHOTOS.copy()
    images[:3] = 0
    assert names(as_floats(images)) == [("blank-images", "warning")]


def test_nan_is_named_and_counted() -> None:
    images = as_floats(PHOTOS)
    images[4, 0, 2, 2] = np.nan
    (found,) = find_image_mistakes(images)
    assert (found.verdict, found.numbers["images"]) == ("images-not-finite", 1)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda x: x.reshape(len(x), 3, 48, 48), "[H, W, 3] was reshaped"),
        (
            lambda x: x.transpose(0, 3, 1, 2).reshape(x.shape).transpose(0, 3, 1, 2),
            "[3, H, W] was reshaped",
        ),
        (
            lambda x: (
                x.reshape(len(x), -1, 3)[:, np.random.default_rng(0).permutation(48 * 48)]
                .reshape(x.shape)
                .transpose(0, 3, 1, 2)
            ),
            "hardly resemble",
        ),
    ],
)
def test_scrambled_pixels_are_named(mistake: object, words: str) -> None:
    images = mistake(PHOTOS).astype(np.float32) / 255  # type: ignore[operator]
    (found,) = find_image_mistakes(images)
    assert found.verdict == "pixels-scrambled"
    assert words in found.seen


def test_one_buffer_for_every_sample_is_named() -> None:
    images = as_floats(PHOTOS)
    images[:] = images[-1]
    assert names(images) == [("one-image-for-all", "error")]


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda x: x * 255, "not scaled, as 0 to 255 are"),
        (lambda x: x * 65_535, "not scaled, as 16 bits are"),
        (lambda x: x / 255, "divided by 255 twice"),
        (lambda x: ((x - 0.485) / 0.229 - 0.485) / 0.229, "normalised twice"),
        (lambda x: 0.5 + x / 1000, "nearly all the same"),
    ],
)
def test_bad_scale_is_named_where_nothing_else_scales(mistake: object, words: str) -> None:
    images = PHOTOS.astype(np.float32).transpose(0, 3, 1, 2) / 255
    wrong = mistake(images)  # type: ignore[operator]
    (found,) = find_image_mistakes(wrong, is_scaled=False)
    assert found.verdict == "images-badly-scaled"
    assert words in found.seen
    assert find_image_mistakes(wrong) == []


@pytest.mark.parametrize(
    "images", [lambda x: x, lambda x: (x - 0.5) / 0.5, lambda x: (x - 0.485) / 0.229]
)
def test_usual_scales_give_no_verdict(images: object) -> None:
    pixels = PHOTOS.astype(np.float32).transpose(0, 3, 1, 2) / 255
    assert names(images(pixels), is_scaled=False) == []  # type: ignore[operator]


def test_readings_of_the_same_samples_are_compared() -> None:
    images = as_floats(PHOTOS)
    other = images[..., ::-1]

    def told(second: NDArray[np.float32], is_training: bool, draws: bool) -> list[str]:
        found = judge_changes(images, second, is_training=is_training, draws=draws)
        return [verdict.verdict for verdict in found]

    assert told(other, is_training=False, draws=True) == ["validation-images-change"]
    assert told(images, is_training=True, draws=True) == ["augmentation-never-changes"]
    assert told(images, is_training=True, draws=False) == []
    assert told(images, is_training=False, draws=True) == []
    assert told(other, is_training=True, draws=True) == []
