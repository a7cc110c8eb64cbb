"""Icons, textures and old scans: read by the same rules as all other pictures."""

import io
import struct

import numpy as np
import pytest
from pictures import blocks, encode, noise
from PIL import Image

from torchloupe.data.image.decode import decode_image, read_size
from torchloupe.data.image.formats import ImageError, inspect
from torchloupe.data.image.headers import is_pcx, is_tga


@pytest.mark.parametrize("form", ["png", "bmp"])
def test_decode_of_an_icon_is_its_largest_picture(form):
    picture = Image.fromarray(blocks(48, 48)).convert("RGBA")
    icon = encode(picture, "ICO", sizes=[(16, 16), (48, 48), (32, 32)], bitmap_format=form)
    assert (decode_image(icon, 3) == blocks(48, 48)).all()
    assert read_size(icon) == (48, 48)


def test_decode_of_an_icon_takes_the_most_colours_of_one_size():
    few = encode(Image.new("1", (8, 8)), "ICO", sizes=[(8, 8)], bitmap_format="bmp")
    picture = Image.fromarray(blocks(9, 8)[:8]).convert("RGBA")
    many = encode(picture, "ICO", sizes=[(8, 8)], bitmap_format="bmp")
    start = 6 + 2 * 16
    entries = b""
    for icon in (few, many):
        entries += icon[6:18] + struct.pack("<I", start)
        start += len(icon) - 22
    both = struct.pack("<HHH", 0, 1, 2) + entries + few[22:] + many[22:]
    assert (decode_image(both, 3) == blocks(9, 8)[:8]).all()


@pytest.mark.parametrize("form", ["ICO", "DDS", "QOI", "PCX", "TGA"])
@pytest.mark.parametrize("cut", [0.3, 0.7, 0.98])
def test_decode_refuses_a_picture_that_is_cut(form, cut):
    whole = encode(noise(60, 80), form, **({"bitmap_format": "bmp"} if form == "ICO" else {}))
    with pytest.raises(ImageError, match=r"truncated|damaged|not an image"):
        decode_image(whole[: int(len(whole) * cut)], 3)


@pytest.mark.parametrize(
    ("bomb", "reason"),
    [
        (b"DDS " + struct.pack("<IIII", 124, 0, 30_000, 20_000) + bytes(108), "600 megapixels"),
        (b"qoif" + struct.pack(">IIBB", 30_000, 20_000, 3, 0), "600 megapixels"),
        (b"qoif" + struct.pack(">IIBB", 5000, 5000, 3, 0), "more than 16 megapixels"),
        (
            b"\x0a\5\1\x08" + struct.pack("<HHHH", 0, 0, 29_999, 19_999) + bytes(53) + b"\3" * 99,
            "600 megapixels",
        ),
        (bytes(2) + b"\x0a" + bytes(9) + struct.pack("<HHBB", 30_000, 20_000, 24, 0), "600 mega"),
        (struct.pack("<HHHBBBBHHII", 0, 1, 1, 0, 0, 0, 0, 1, 24, 40, 22)
         + struct.pack("<Iii", 40, 30_000, 40_000) + bytes(28), "600 megapixels"),
    ],
)  # fmt: skip
def test_inspect_refuses_a_bomb_by_its_header(bomb, reason):
    with pytest.raises(ImageError, match=reason):
        inspect(bomb)


@pytest.mark.parametrize("kind", ["L", "P", "RGB", "RGBA", "LA"])
@pytest.mark.parametrize("options", [{}, {"compression": "tga_rle"}])
def test_is_tga_knows_what_pillow_writes_with_and_without_a_footer(kind, options):
    whole = encode(Image.fromarray(blocks()).convert(kind), "TGA", **options)
    assert is_tga(whole)
    footer = whole.index(b"TRUEVISION") - 8
    assert is_tga(whole[:footer])
    with Image.open(io.BytesIO(whole)) as image:
        wanted = np.asarray(image.convert("RGB"))
    assert (decode_image(whole[:footer], 3) == wanted).all()


def test_decode_of_a_tga_without_alpha_bits_takes_its_fourth_byte_for_nothing():
    whole = bytearray(encode(np.dstack([blocks(), np.zeros((48, 32), np.uint8)]), "TGA"))
    assert decode_image(bytes(whole), 3).min() == 255  # all of it is transparent
    whole[17] &= 0xF0
    assert (decode_image(bytes(whole), 3) == blocks()).all()


@pytest.mark.parametrize(
    "text",
    [
        *(b"hello, I am text of some length, which is not an image", bytes(4096), b"\1" * 4096),
        *(b"\n" * 4096, b"\0\0\2" + bytes(60), b"id,label\n" * 99, bytes(range(256)) * 9),
        b"\x0a\1\1\x08" + b"text" * 99,
    ],
)
def test_is_tga_and_is_pcx_say_no_to_other_files(text):
    assert not is_tga(text)
    assert not is_pcx(text)
