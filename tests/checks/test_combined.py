"""What tells the class only together, and grounds; honest sets are quiet."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from torchloupe.checks.combined import (
    describe_parts,
    find_ground_shortcut,
    find_joint_shortcut,
)
from torchloupe.checks.shortcuts import find_file_shortcuts

CLASSES = ("ant", "bee", "cat", "dog")
LABELS = np.arange(240) % 4


def words(values: NDArray[np.object_]) -> list[str]:
    return [str(value) for value in values]


def test_two_properties_that_tell_the_class_together_are_named() -> None:
    kinds = np.array(["PNG", "PNG", "JPEG", "JPEG"], dtype=object)[LABELS]
    sizes = np.array([640.0, 320.0, 640.0, 320.0])[LABELS]
    days = np.array(["2024-01-02", "2024-03-04"], dtype=object)
    properties = {
        "day": words(days[np.random.default_rng(0).integers(0, 2, 240)]),
        "file format": words(kinds),
        "image size": sizes,
    }
    assert find_file_shortcuts(properties, LABELS, CLASSES) == []
    (found,) = find_joint_shortcut(properties, LABELS, CLASSES)
    assert (found.verdict, found.level) == ("class-told-by-file", "warning")
    assert set(found.where.split(", ")) == {"file format", "image size"}
    assert found.numbers == {"accuracy": 1.0, "majority": 0.25}


def test_properties_that_say_little_together_are_quiet() -> None:
    rng = np.random.default_rng(0)
    honest = {
        "file format": words(np.where(rng.random(240) < 0.3 + 0.1 * LABELS, "PNG", "JPEG")),
        "image size": rng.normal(1e6, 2e5, 240) * (1 + 0.2 * LABELS),
        "camera": words(rng.integers(0, 3, 240)),
        "own name": [f"name{k}" for k in range(240)],
    }
    assert find_joint_shortcut(honest, LABELS, CLASSES) == []  # type: ignore[arg-type]
    assert find_joint_shortcut({"camera": ["a"] * 8, "day": ["b"] * 8}, LABELS[:8], CLASSES) == []
    assert find_joint_shortcut({}, LABELS, CLASSES) == []


def before(grounds: NDArray[np.float64], objects: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Images [N, 40, 40, 3] of a coloured object [N, 3] before a coloured ground [N, 3]."""
    rng = np.random.default_rng(1)
    images = np.tile(grounds[:, None, None], (1, 40, 40, 1))
    for image, colour, at in zip(
        images, objects, rng.integers(6, 9, (len(images), 2)), strict=True
    ):
        image[at[0] : at[0] + 26, at[1] : at[1] + 26] = colour
    return np.clip(images + rng.normal(0, 8, images.shape), 0, 255).astype(np.uint8)


def test_a_ground_of_each_class_is_named_and_objects_of_each_class_are_not() -> None:
    rng = np.random.default_rng(0)
    told = rng.uniform(60, 200, (4, 3))[LABELS] + rng.normal(0, 12, (240, 3))
    free = rng.uniform(20, 235, (240, 3))
    (found,) = find_ground_shortcut(before(told, free), LABELS, CLASSES)
    assert (found.verdict, found.where) == ("class-told-by-border", "border ring")
    assert found.numbers["ring"] > 0.9 > found.numbers["middle"]
    assert find_ground_shortcut(before(free, told), LABELS, CLASSES) == []
    assert find_ground_shortcut(before(told, told), LABELS, CLASSES) == []  # beaches and woods
    assert find_ground_shortcut(before(free, free), LABELS, CLASSES) == []


def test_digits_and_few_images_are_quiet() -> None:
    digits = load_digits()
    images = np.kron((digits.images * 15).astype(np.uint8), np.ones((1, 4, 4), np.uint8))[..., None]
    assert find_ground_shortcut(images, digits.target, [str(k) for k in range(10)]) == []
    assert find_ground_shortcut(images[:8], digits.target[:8], [str(k) for k in range(10)]) == []


@pytest.mark.parametrize(("height", "width"), [(12, 12), (28, 28), (48, 20), (15, 61)])
def test_both_parts_have_as_many_numbers_and_share_no_pixel(height: int, width: int) -> None:
    images = np.zeros((1, height, width, 3), dtype=np.uint8)
    ring, middle = describe_parts(images)
    assert ring.shape == middle.shape == (1, 12 * 6)
    images[:, height // 2, width // 2] = 255
    changed = describe_parts(images)
    assert np.array_equal(changed[0], ring)
    assert not np.array_equal(changed[1], middle)
