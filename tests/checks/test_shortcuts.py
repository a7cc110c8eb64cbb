"""Shortcuts as collections have them are named; honest sets are quiet."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from torchloupe.checks.shortcuts import (
    find_border_shortcuts,
    find_file_shortcuts,
    try_property,
)

CLASSES = ("ant", "bee", "cat")
LABELS = np.arange(180) % 3


def scenes(seed: int = 0) -> NDArray[np.uint8]:
    """Coloured images of which each class has its own colour, as fruit have."""
    rng = np.random.default_rng(seed)
    cells = rng.uniform(0, 90, (180, 8, 8, 3)) + np.eye(3)[LABELS][:, None, None] * 120
    images = np.kron(cells, np.ones((1, 6, 6, 1))) + rng.normal(0, 8, (180, 48, 48, 3))
    return np.clip(images, 0, 255).astype(np.uint8)


def words(values: NDArray[np.object_]) -> list[str]:
    return [str(value) for value in values]


def test_one_class_in_another_format_is_named_with_its_table() -> None:
    kinds = np.where(LABELS == 1, "PNG", "JPEG").astype(object)
    kinds[4] = "JPEG"
    (found,) = find_file_shortcuts({"file format": words(kinds)}, LABELS, CLASSES)
    assert (found.verdict, found.level, found.where) == (
        "class-told-by-file",
        "warning",
        "file format",
    )
    assert "tells bee from all other classes" in found.seen
    assert "PNG: bee 59 of 59" in found.seen


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("camera", words(np.array(["Canon", "Nikon", "Sony"], dtype=object)[LABELS])),
        ("day", words(np.array(["2024-01-02", "2024-03-04", "2024-03-05"], dtype=object)[LABELS])),
        ("image size", np.where(LABELS == 2, 640.0 * 480, 320.0 * 240)),
        (
            "image size",
            np.random.default_rng(0).normal(1e6, 1e5, 180) * np.where(LABELS == 0, 0.3, 1.0),
        ),
    ],
)
def test_properties_that_tell_the_class_are_named(name: str, values: object) -> None:
    (found,) = find_file_shortcuts({name: values}, LABELS, CLASSES)  # type: ignore[dict-item]
    assert found.where == name


def test_properties_that_say_little_are_quiet() -> None:
    rng = np.random.default_rng(0)
    honest = {
        "file format": words(np.where(rng.random(180) < 0.3, "PNG", "JPEG").astype(object)),
        "image size": rng.normal(1e6, 2e5, 180) * (1 + 0.2 * LABELS),
        "day": [f"2024-01-{k % 28 + 1:02d}" for k in range(180)],
        "own name": [f"name{k}" for k in range(180)],
    }
    assert find_file_shortcuts(honest, LABELS, CLASSES) == []  # type: ignore[arg-type]
    few = {"camera": ["a", "b"] * 4}
    assert find_file_shortcuts(few, np.arange(8) % 2, CLASSES[:2]) == []


def test_accuracy_is_that_of_left_out_images() -> None:
    told = try_property("name", [str(k) for k in range(180)], LABELS, CLASSES)
    assert told.accuracy < 0.4
    assert told.majority == pytest.approx(1 / 3)


def with_frame(images: NDArray[np.uint8]) -> None:
    for edge in (np.s_[:, :4], np.s_[:, -4:], np.s_[:, :, :4], np.s_[:, :, -4:]):
        images[edge][LABELS == 1] = 0


def with_mark(images: NDArray[np.uint8]) -> None:
    mark = np.random.default_rng(5).integers(0, 2, (5, 12, 1)) * 255
    images[LABELS == 1, 41:46, 34:46] = mark


@pytest.mark.parametrize("plant", [with_frame, with_mark])
def test_frame_or_mark_on_one_class_is_named(plant: object) -> None:
    images = scenes()
    plant(images)  # type: ignore[operator]
    (found,) = find_border_shortcuts(images, LABELS, CLASSES)
    assert (found.verdict, found.where) == ("class-told-by-border", "bee")
    assert found.numbers["hits"] > 0.9


def test_a_frame_on_all_classes_and_honest_colours_are_quiet() -> None:
    images = scenes()
    assert find_border_shortcuts(images, LABELS, CLASSES) == []
    images[:, :4] = images[:, -4:] = 0
    assert find_border_shortcuts(images, LABELS, CLASSES) == []


def test_digits_are_quiet() -> None:
    digits = load_digits()
    images = (digits.images * 15).astype(np.uint8)[..., None]
    assert find_border_shortcuts(images, digits.target, [str(k) for k in range(10)]) == []
