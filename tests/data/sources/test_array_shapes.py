"""Layouts told by shapes, and what to do about those that say nothing."""

import numpy as np
import pytest
from trees import fail

from torchloupe.data.sources import open_data
from torchloupe.data.sources.array_shapes import as_nhwc

LABELS = np.arange(20) % 2


@pytest.mark.parametrize(
    ("shape", "layout", "found"),
    [
        ((2, 5, 6), "auto", (2, 5, 6, 1)),
        ((2, 5, 6, 3), "auto", (2, 5, 6, 3)),
        ((2, 3, 5, 6), "auto", (2, 5, 6, 3)),
        ((2, 7, 5, 6), "NCHW", (2, 5, 6, 7)),
        ((2, 5, 6, 7), "NHWC", (2, 5, 6, 7)),
    ],
)
def test_shapes_say_the_layout(shape, layout, found):
    assert as_nhwc(np.zeros(shape, np.uint8), layout).shape == found


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((8, 8, 3, 20), "images.transpose(3, 0, 1, 2)"),
        ((20, 8, 8, 5), "data.layout=NHWC takes axis 3 as 5 channels"),
        ((20, 13, 8, 8), "data.layout=NCHW takes axis 1 as 13 channels"),
        ((20, 28, 28, 28), "data.layout=NCHW takes the 28 slices of each as channels"),
        ((20, 28, 28, 28, 1), "use images[..., 0]"),
        ((20, 1, 28, 28, 28), "use images[:, 0]"),
    ],
)
def test_hints_say_what_is_possible(shape, hint):
    assert hint in fail((np.zeros(shape, np.uint8), LABELS)).hint


def test_hints_lead_on():
    volumes = np.zeros((20, 6, 6, 6), np.uint8)
    assert open_data((volumes, LABELS), layout="NCHW").reader.read(0).shape == (6, 6, 6)
    slices = volumes.reshape(-1, 6, 6), LABELS.repeat(6)
    assert open_data(slices).reader.read(0).shape == (6, 6, 1)
    turned = np.zeros((8, 8, 3, 20), np.uint8).transpose(3, 0, 1, 2)
    assert open_data((turned, LABELS)).reader.read(0).shape == (8, 8, 3)
