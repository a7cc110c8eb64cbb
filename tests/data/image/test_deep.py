"""16-bit samples in full: every layout gives the values that were stored."""

import struct
import zlib

import numpy as np
import pytest
from pictures import encode, noise, png
from PIL import Image

from torchloupe.data.image.decode import decode_image, find_peak, is_grey
from torchloupe.data.image.deep import read_samples
from torchloupe.data.image.formats import ImageError, inspect

CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}


def deep(channels, top=4095, seed=0):
    values = np.random.default_rng(seed).integers(0, top + 1, (7, 9, channels), np.uint16)
    values[0, 0, 0] = top
    return values


def deep_png(values, colour):
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(values.shape[1], values.shape[0], 16, colour, (b"IDAT", zlib.compress(rows)))


def deep_tiff(values, order, packed):
    """A TIFF of one strip: its header, its pixels, its table."""
    height, width, channels = values.shape
    pixels = values.astype(f"{order}u2").tobytes()
    pixels = zlib.compress(pixels) if packed else pixels
    bits_at = 8 + len(pixels)
    entries = [
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, bits_at)),
        *((259, 4, 1, 8 if packed else 1), (262, 4, 1, 2 if channels > 1 else 1)),
        *((273, 4, 1, 8), (277, 4, 1, channels), (278, 4, 1, height), (279, 4, 1, len(pixels))),
    ]
    if channels == 1:
        entries[2] = (258, 4, 1, 16)
    table = struct.pack(f"{order}H", len(entries))
    table += b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries) + bytes(4)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", bits_at + 8)
    return head + pixels + struct.pack(f"{order}4H", *[16] * 4) + table


@pytest.mark.parametrize("colour", CHANNELS)
def test_read_samples_of_png(colour):
    values = deep(CHANNELS[colour])
    found = read_samples(inspect(deep_png(values, colour)))
    assert found.dtype == np.uint16 and (found == values).all()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_read_samples_of_tiff(order, packed, channels):
    values = deep(channels)
    assert (read_samples(inspect(deep_tiff(values, order, packed))) == values).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_read_samples_of_ppm(channels):
    values = deep(channels)
    head = b"P%d 9 7 65535\n" % (5 if channels == 1 else 6)
    assert (read_samples(inspect(head + values.astype(">u2").tobytes())) == values).all()
    head = head.replace(b"65535", b"4095")  # its own maximum is white
    wanted = np.rint(values / 4095 * 65_535).astype(np.uint16)
    assert (read_samples(inspect(head + values.astype(">u2").tobytes())) == wanted).all()


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM", "JPEG", "JPEG2000", "BMP"])
def test_read_samples_of_8_bits_is_none(form):
    assert read_samples(inspect(encode(noise(), form))) is None
    assert find_peak(encode(noise(), form)) == 0


def test_find_peak_leaves_alpha_out():
    values = deep(4)
    values[..., 3] = 65_535
    assert find_peak(deep_png(values, 6)) == 4095
    values = deep(2)
    values[..., 1] = 65_535
    assert find_peak(deep_png(values, 4)) == 4095
    assert find_peak(encode(deep(1)[..., 0], "TIFF")) == 4095


@pytest.mark.parametrize("colour", CHANNELS)
def test_decode_scales_to_the_white_level(colour):
    values = deep(CHANNELS[colour])
    if colour >= 4:
        values[..., -1] = 65_535
    shown = values[..., :-1] if colour >= 4 else values
    wanted = ((shown.astype(int) * 255 + 2047) // 4095).astype(np.uint8)
    found = decode_image(deep_png(values, colour), 3, white_level=4095)
    assert (found == wanted).all()
    with pytest.raises(ImageError, match=r"its 16-bit values go up to 4,095, and white is 1,023"):
        decode_image(deep_png(values, colour), 3, white_level=1023)


def test_decode_leaves_8_bits_as_they_are_whatever_the_white_level():
    for form in ("PNG", "JPEG", "TIFF"):
        whole = encode(noise(), form)
        assert (decode_image(whole, 3, white_level=1023) == decode_image(whole, 3)).all()


def test_is_grey_sees_colour_in_the_low_bytes():
    values = deep(3, top=255)
    assert not is_grey(deep_png(values, 2))
    assert is_grey(deep_png(np.repeat(values[..., :1], 3, 2), 2))
    assert is_grey(deep_png(values[..., :2], 4))


def test_read_samples_of_an_interlaced_png():
    values = deep(3)
    whole = deep_png(values, 2)
    picture = Image.fromarray(noise())
    assert read_samples(inspect(encode(picture, "PNG"))) is None
    assert (read_samples(inspect(whole)) == values).all()
