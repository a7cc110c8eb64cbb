"""The resize of a graph equals Pillow's to the last bit, for every fit, kernel and shape."""

import numpy as np
import pytest
import torch
from PIL import Image

from torchloupe.data.image.resize import KERNELS, fit_image
from torchloupe.deploy.artefact.resize_graph import (
    ExactResize,
    resizes_tall_images_vertically_first,
)

FITS = ("crop", "pad", "stretch")


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_resize_equals_pillow_bit_for_bit(fit: str, kernel: str) -> None:
    rng = np.random.default_rng(4)
    order = resizes_tall_images_vertically_first()
    for number in range(12):
        height, width = (int(side) for side in rng.integers(1, 160, 2))
        size = (int(rng.integers(1, 70)), int(rng.integers(1, 70)))
        size = (height, width) if number == 0 else size
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        wanted = fit_image(Image.fromarray(pixels), size, fit, kernel)
        found = ExactResize(size, fit, kernel, order)(torch.from_numpy(pixels)[None])
        assert (found[0].permute(1, 2, 0).numpy() == wanted).all(), (height, width, size)


def test_resize_of_a_batch_is_that_of_its_images() -> None:
    pixels = torch.randint(0, 256, (3, 40, 25, 1), dtype=torch.uint8)
    resize = ExactResize((16, 16), "pad", "bilinear", vertical_first=True)
    whole = resize(pixels)
    assert whole.shape == (3, 1, 16, 16)
    assert all(torch.equal(whole[k : k + 1], resize(pixels[k : k + 1])) for k in range(3))


def test_another_kernel_gives_other_pixels() -> None:
    pixels = torch.randint(0, 256, (1, 50, 50, 3), dtype=torch.uint8)
    one, other = (
        ExactResize((16, 16), "crop", kernel, vertical_first=True)(pixels)
        for kernel in ("bilinear", "bicubic")
    )
    assert not torch.equal(one, other)
