"""The picture has its parts where they belong; pixels and colours are what they should be."""

import numpy as np
import pytest
from looks import make_hostile_look
from PIL import ImageChops

from torchloupe.report.colours import enlarge, lay_over, to_colours, to_pixels, to_unit
from torchloupe.report.look import Look
from torchloupe.report.picture import draw_look


def test_picture_holds_image_heat_and_a_row_for_each_layer() -> None:
    look = make_hostile_look()
    picture = draw_look(look)
    assert picture.size[0] == 1600
    fewer = draw_look(Look(**{**vars(look), "layers": look.layers[:1]}))
    assert picture.size[1] - fewer.size[1] == 2 * 199
    assert picture.getpixel((48 + 230, 172 + 230)) != (255, 255, 255)
    other = draw_look(Look(**{**vars(look), "heat": look.heat[1:]}))
    changed = ImageChops.difference(picture, other).getbbox()
    assert changed[0] > 48 + 460, "the image itself has no heat over it"


@pytest.mark.parametrize("letters", ["猫", "\udcff", "a" * 5000, "\x1b[31m"])
def test_picture_takes_names_of_any_letters(letters: str) -> None:
    look = make_hostile_look()
    ranking = ((letters, 1.0), *look.ranking)
    assert (
        draw_look(Look(**{**vars(look), "ranking": ranking, "image_name": letters})).size[0] == 1600
    )


def test_colours_go_from_dark_to_light() -> None:
    for palette in ("maps", "heat"):
        colours = to_colours(np.linspace(0, 1, 50)[None], palette)[0].astype(float)
        lightness = colours @ [0.299, 0.587, 0.114]
        assert (np.diff(lightness) > 0).all()
    assert (to_colours(np.array([[np.nan, -1, 2]]))[0, :2] == to_colours(np.zeros((1, 2)))[0]).all()


def test_where_there_is_no_heat_the_image_shows() -> None:
    image = np.full((4, 4, 3), 100, np.uint8)
    heat = np.zeros((4, 4))
    heat[0, 0] = 1
    laid = lay_over(image, heat)
    assert len({tuple(pixel) for pixel in laid.reshape(-1, 3)[1:]}) == 1
    assert tuple(laid[0, 0]) != tuple(laid[1, 1])
    assert lay_over(image, np.zeros((2, 2))).shape == (4, 4, 3)


@pytest.mark.parametrize("channels", [1, 2, 3, 7])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_any_decoded_image_can_be_seen(channels: int, kind: type) -> None:
    values = (np.random.default_rng(0).random((5, 6, channels)) * 200).astype(kind)
    pixels = to_pixels(values)
    assert pixels.shape == (5, 6, 3)
    assert pixels.dtype == np.uint8
    if channels == 3 and kind is np.uint8:
        assert (pixels == values).all()
    if channels != 3:
        assert (pixels[..., 0] == pixels[..., 2]).all()


def test_unit_values_of_what_does_not_differ_are_zero() -> None:
    assert to_unit(np.array([2.0, 4.0, 3.0])).tolist() == [0, 1, 0.5]
    assert to_unit(np.array([7.0, 7.0])).tolist() == [0, 0]
    assert np.isfinite(to_unit(np.array([np.nan, np.inf, 1.0]))).all()


def test_enlarged_images_keep_their_proportions() -> None:
    assert enlarge(np.zeros((2, 4, 3), np.uint8), 100, 100).shape == (50, 100, 3)
    assert enlarge(np.zeros((400, 200, 3), np.uint8), 100, 100).shape == (100, 50, 3)
