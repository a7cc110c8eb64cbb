"""Cropping, padding, stretching: which pixels of the image end up where."""

import numpy as np
import pytest
from pictures import noise
from PIL import Image

from torchloupe.data.image.resize import KERNELS, fit_image


def test_fit_leaves_an_image_of_the_right_size_alone():
    for channels in (1, 3):
        pixels = noise(channels=channels)
        found = fit_image(Image.fromarray(pixels), (12, 16), "crop", "lanczos")
        assert found.shape == (12, 16, channels)
        assert (found.reshape(pixels.shape) == pixels).all()


@pytest.mark.parametrize("shape", [(10, 30), (30, 10)])
def test_crop_takes_the_largest_centred_part(shape):
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels[10:20] = 255 if shape[0] == 30 else pixels[10:20]
    pixels[:, 10:20] = 255 if shape[1] == 30 else pixels[:, 10:20]
    found = fit_image(Image.fromarray(pixels), (10, 10), "crop", "nearest")
    assert (found == 255).all()


def test_pad_shows_the_whole_image_on_the_colour_of_its_border():
    pixels = np.full((10, 30, 3), (200, 100, 50), np.uint8)
    pixels[4:6, 10:20] = 0
    found = fit_image(Image.fromarray(pixels), (30, 30), "pad", "nearest")
    assert (found[:10] == (200, 100, 50)).all() and (found[20:] == (200, 100, 50)).all()
    assert (found[10:20] == pixels).all()


def test_stretch_takes_everything_and_gives_up_proportions():
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, :15] = 255
    found = fit_image(Image.fromarray(pixels), (8, 8), "stretch", "nearest")
    assert (found[:, :4] == 255).all() and (found[:, 4:] == 0).all()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 2), (64, 64)])
@pytest.mark.parametrize("antialias", [True, False])
def test_fit_gives_the_size_asked_for_whatever_it_gets(fit, kernel, shape, antialias):
    for mode in ("L", "RGB", "F"):
        image = Image.new(mode, shape[::-1], 7)
        found = fit_image(image, (9, 5), fit, kernel, antialias)
        assert found.shape == (9, 5, 3 if mode == "RGB" else 1)
        assert found.max() == pytest.approx(7, abs=1e-4)


def test_antialias_averages_and_its_absence_picks():
    stripes = np.tile(np.array([0, 255], np.uint8), (40, 20))
    smooth = fit_image(Image.fromarray(stripes), (5, 5), "stretch", "bilinear", True)
    picked = fit_image(Image.fromarray(stripes), (5, 5), "stretch", "bilinear", False)
    assert smooth.std() < 10
    assert set(np.unique(picked)) <= {0, 127, 128, 255}
