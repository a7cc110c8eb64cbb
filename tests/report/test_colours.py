"""Numbers as colours: any kind of image made fit to be seen."""

import numpy as np
import pytest

from torchloupe.report.colours import enlarge, lay_over, to_colours, to_pixels, to_unit


@pytest.mark.parametrize("palette", ["maps", "heat"])
def test_palettes_go_from_dark_to_light(palette: str) -> None:
    row = to_colours(np.linspace(0, 1, 50)[None], palette)
    assert (row.shape, row.dtype) == ((1, 50, 3), np.uint8)
    light = row[0] @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(light) > 0).all()


def test_values_outside_and_without_a_number_have_a_colour() -> None:
    seen = to_colours(np.array([[-1.0, 0.0, 1.0, 2.0, np.nan]]))[0].tolist()
    assert seen[0] == seen[1] == seen[4]
    assert seen[2] == seen[3] != seen[0]


def test_to_unit_stretches_and_a_constant_is_nothing() -> None:
    assert to_unit(np.array([2.0, 4.0, 3.0])).tolist() == [0, 1, 0.5]
    assert to_unit(np.full((2, 2), 7.0)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((4, 5), np.uint8), ((4, 5, 1), np.uint8), ((4, 5, 3), np.uint8), ((4, 5, 2), np.float32)],
)
def test_any_decoded_image_can_be_seen(shape: tuple[int, ...], kind: type) -> None:
    decoded = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    pixels = to_pixels(decoded)
    assert (pixels.shape, pixels.dtype) == ((4, 5, 3), np.uint8)
    if kind is np.uint8:
        assert np.array_equal(pixels, np.broadcast_to(decoded.reshape(4, 5, -1), (4, 5, 3)))
    else:
        assert (pixels.min(), pixels.max()) == (0, 255)


def test_where_there_is_no_heat_the_image_shows_in_grey() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    heat = np.zeros((6, 6))
    heat[:, 3:] = 1
    over = lay_over(image, heat)
    assert (over[:, :3] == over[:, :3, :1]).all()
    assert (over[:, 3:, 0].astype(int) - over[:, 3:, 2] > 20).all()  # warm
    assert lay_over(image, np.ones((2, 3))).shape == image.shape


@pytest.mark.parametrize(("width", "height", "size"), [(50, 50, (25, 50)), (4, 100, (2, 4))])
def test_enlarge_keeps_proportions(width: int, height: int, size: tuple[int, int]) -> None:
    assert enlarge(np.zeros((5, 10, 3), np.uint8), width, height).shape == (*size, 3)
