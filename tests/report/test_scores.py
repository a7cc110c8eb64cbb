"""Pictures of an evaluation: every class and every mistake has its place."""

import numpy as np
import pytest

from torchloupe.report.scores import Mistake, draw_confusion, draw_mistakes


@pytest.mark.parametrize("classes", [2, 10, 60, 200])
def test_confusion_matrix_is_a_picture_of_any_number_of_classes(classes: int) -> None:
    counts = np.eye(classes, dtype=np.int64) * 5
    counts[0, -1] = 5
    picture = draw_confusion(counts, [f"class \x1b {k} 猫" for k in range(classes)])
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert max(picture.shape) <= 1600
    same = draw_confusion(
        np.eye(classes, dtype=np.int64) * 5, [f"class {k}" for k in range(classes)]
    )
    assert not np.array_equal(picture, same)


def test_confusion_matrix_of_an_empty_class_is_drawn() -> None:
    assert draw_confusion(np.zeros((3, 3), dtype=np.int64), ["a", "b", "c"]).shape[2] == 3


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (6, 1), (7, 2), (24, 4)])
def test_mistakes_are_a_grid_of_images(count: int, rows: int) -> None:
    pixels = np.full((8, 12, 3), 200, np.uint8)
    picture = draw_mistakes([Mistake(pixels, "cat", "dog\n", 0.9)] * count)
    assert picture.shape[0] == 48 + rows * 214
    assert (picture == 200).all(axis=2).sum() >= count * 100 * 150
