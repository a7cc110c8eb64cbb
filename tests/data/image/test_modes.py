"""Modes to grey and RGB: what one can be brought to, the other can, too; 16 bits to 8."""

import numpy as np
import pytest
from pictures import blocks
from PIL import Image

from torchloupe.data.image.encoded import ImageError
from torchloupe.data.image.modes import FULL_WHITE, scale_to_8_bit, to_mode


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16"]
)
def test_to_mode_brings_every_mode_to_grey_and_colour(mode):
    picture = Image.fromarray(blocks())
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    elif mode == "PA":
        picture = picture.convert("P").convert("PA")
    else:
        picture = picture.convert(mode)
    colour, grey = to_mode(picture, 3), to_mode(picture, 1)
    assert (colour.mode, grey.mode) == ("RGB", "L")
    assert np.abs(np.asarray(colour.convert("L")).astype(int) - np.asarray(grey)).max() <= 1


def test_scale_to_8_bit_of_the_full_range_divides_by_257():
    values = np.arange(65_536)
    assert (scale_to_8_bit(values, FULL_WHITE) == (values + 128) // 257).all()


@pytest.mark.parametrize("white", [255, 1023, 4095, 16_383])
def test_scale_to_8_bit_maps_white_to_255(white):
    values = np.array([0, white // 2, white])
    assert scale_to_8_bit(values, white).tolist() == [0, round(255 * (white // 2) / white), 255]
    with pytest.raises(ImageError) as caught:
        scale_to_8_bit(np.array([white + 1]), white)
    assert str(caught.value) == (
        f"its 16-bit values go up to {white + 1:,}, and white is {white:,} in this data set"
    )
