"""WebP that ends in zeros: refused where the picture doesn't need them, and nowhere else."""

import numpy as np
import pytest
from pictures import encode, noise
from PIL import Image

from torchloupe.data.image.decode import decode_image
from torchloupe.data.image.formats import ImageError
from torchloupe.data.image.webp import cut_zero_tail

WEBP = [{}, {"lossless": True}, {"exif": b"Exif\0\0II*\0"}]


@pytest.mark.parametrize("options", WEBP)
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.8])
def test_decode_refuses_a_webp_with_a_tail_of_zeros(options, share):
    whole = encode(noise(60, 80), "WEBP", **options)
    cut = int(len(whole) * (1 - share))
    with pytest.raises(ImageError) as caught:
        decode_image(whole[:cut] + bytes(len(whole) - cut), 3)
    assert str(caught.value) == "truncated WebP: it ends in zeros, as after an interrupted download"


@pytest.mark.parametrize("colour", [0, 128, 255])
@pytest.mark.parametrize("options", WEBP)
def test_decode_reads_a_webp_of_one_colour(options, colour):
    pixels = np.full((300, 400, 3), colour, np.uint8)
    found = decode_image(encode(pixels, "WEBP", **options), 3).astype(int)
    assert np.abs(found - colour).max() <= 2


def test_decode_reads_a_webp_with_zeros_behind_its_end():
    whole = encode(noise(), "WEBP")
    assert (decode_image(whole + bytes(99), 3) == decode_image(whole, 3)).all()


@pytest.mark.parametrize("size", [(600, 1000), (40, 4000)])
@pytest.mark.parametrize("options", [{}, {"quality": 100, "method": 0}, {"lossless": True}])
def test_decode_reads_a_webp_whose_lower_part_is_flat(options, size):
    pixels = np.full((*size, 3), 255, np.uint8)
    pixels[:20, :40] = noise(20, 40)
    whole = encode(pixels, "WEBP", **options)
    assert decode_image(whole, 3)[-1].min() > 250
    if options.get("method") == 0:
        assert cut_zero_tail(whole) is not None  # it does end in zeros
    cut = len(whole) * 2 // 3
    if "lossless" not in options and len(whole[:cut].rstrip(b"\0")) == cut:
        with pytest.raises(ImageError, match="truncated WebP"):
            decode_image(whole[:cut] + bytes(len(whole) - cut), 3)


def test_decode_refuses_the_zeros_in_the_first_frame_of_an_animation():
    frames = [Image.fromarray(noise(60, 80, seed=k)) for k in range(2)]
    whole = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    first = whole.index(b"ANMF")
    length = int.from_bytes(whole[first + 4 : first + 8], "little")
    end = first + 8 + length
    decode_image(whole, 3)
    with pytest.raises(ImageError, match="truncated WebP"):
        decode_image(whole[: end - 1500] + bytes(1500) + whole[end:], 3)


def test_cut_zero_tail_of_a_plain_file_is_none():
    assert cut_zero_tail(encode(noise(), "WEBP")) is None
    assert cut_zero_tail(encode(noise(), "WEBP", lossless=True)) is None
