"""AVIF, HEIC and JPEG 2000: brands, sizes, and files that end in zeros or too early."""

import io
import struct

import numpy as np
import pytest
from pictures import HAS_AVIF, blocks, encode, noise
from PIL import Image

from torchloupe.data.image.boxes import brand_of
from torchloupe.data.image.decode import decode_image, read_size
from torchloupe.data.image.formats import ImageError, inspect

try:
    import pillow_heif
except ImportError:
    pillow_heif = None
needs_avif = pytest.mark.skipif(not HAS_AVIF, reason="this Pillow has no AVIF")
needs_heif = pytest.mark.skipif(pillow_heif is None, reason="pillow-heif is not installed")
FTYP = struct.Struct(">I4s4sI")


def heic(pixels, **options):
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(file, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("major", "others", "brand"),
    [
        (b"avif", (), "AVIF"),
        (b"mif1", (b"avif",), "AVIF"),
        (b"mif1", (b"heic",), "HEIC"),
        (b"heix", (), "HEIC"),
        (b"isom", (b"mp42",), "isom"),
        (b"qt  ", (), "qt"),
    ],
)
def test_brand_of_reads_all_brands(major, others, brand):
    assert brand_of(FTYP.pack(16 + 4 * len(others), b"ftyp", major, 0) + b"".join(others)) == brand


def test_brand_of_other_files_is_empty():
    assert brand_of(b"") == brand_of(encode(noise(), "PNG")) == ""


@needs_avif
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_decode_refuses_an_avif_with_a_tail_of_zeros(share):
    whole = encode(noise(60, 80), "AVIF")
    cut = int(len(whole) * (1 - share))
    with pytest.raises(ImageError, match="AVIF"):
        decode_image(whole[:cut] + bytes(len(whole) - cut), 3)


@needs_avif
def test_decode_reads_an_avif_with_padding_behind_its_pixels():
    whole = encode(noise(60, 80), "AVIF")
    padded = whole + struct.pack(">I4s", 40, b"free") + bytes(32)
    assert (decode_image(padded, 3) == decode_image(whole, 3)).all()


@pytest.mark.skipif(pillow_heif is not None, reason="pillow-heif is installed")
def test_decode_names_the_extra_for_heic():
    head = FTYP.pack(16, b"ftyp", b"heic", 0) + b"\0\0\0\x14ispe\0\0\0\0\0\0\0\x08\0\0\0\x08"
    with pytest.raises(ImageError) as caught:
        decode_image(head, 3)
    assert str(caught.value) == (
        "HEIC is read with the extra heic (pip install 'torchloupe[heic]'); or convert it to JPEG"
    )


@needs_heif
def test_decode_of_heic_is_near_what_was_stored():
    whole = heic(blocks(), quality=95)
    assert np.abs(decode_image(whole, 3).astype(int) - blocks()).mean() < 6
    assert read_size(whole) == (48, 32)
    grey = np.asarray(Image.fromarray(blocks()).convert("L")).astype(int)
    assert np.abs(decode_image(whole, 1)[..., 0] - grey).mean() < 6


@needs_heif
@pytest.mark.parametrize("cut", [0.3, 0.7, 0.95])
def test_decode_refuses_a_heic_that_is_cut_or_ends_in_zeros(cut):
    whole = heic(noise(60, 80))
    end = int(len(whole) * cut)
    for odd in (whole[:end], whole[:end] + bytes(len(whole) - end)):
        with pytest.raises(ImageError, match="HEIC"):
            decode_image(odd, 3)


@pytest.mark.parametrize("options", [{}, {"no_jp2": True}, {"tile_size": (16, 16)}])
@pytest.mark.parametrize("channels", [1, 3])
def test_decode_of_jpeg_2000_gives_the_pixels_that_were_stored(options, channels):
    pixels = noise(channels=channels)
    whole = encode(pixels, "JPEG2000", **options)
    assert (decode_image(whole, 3) == (pixels if channels == 3 else pixels[:, :, None])).all()
    assert inspect(whole).size == (16, 12) and read_size(whole) == (12, 16)


def test_decode_scales_16_bit_jpeg_2000_as_16_bit_png():
    values = np.array([[0, 128, 129, 257, 257 * 100, 65_535]], np.uint16)
    whole = encode(values, "JPEG2000")
    assert decode_image(whole, 1)[0, :, 0].tolist() == [0, 0, 1, 1, 100, 255]


@pytest.mark.parametrize("cut", [0.3, 0.7, 0.99])
@pytest.mark.parametrize("options", [{}, {"no_jp2": True}])
def test_decode_refuses_a_jpeg_2000_that_is_cut_or_ends_in_zeros(options, cut):
    whole = encode(noise(60, 80), "JPEG2000", **options)
    end = int(len(whole) * cut)
    for odd in (whole[:end], whole[:end] + bytes(len(whole) - end)):
        with pytest.raises(ImageError, match="truncated"):
            decode_image(odd, 3)


def test_inspect_refuses_a_jpeg_2000_of_too_many_pixels():
    whole = encode(noise(), "JPEG2000", no_jp2=True)
    bomb = whole[:8] + struct.pack(">II", 30_000, 20_000) + whole[16:]
    with pytest.raises(ImageError, match="header says 30000 x 20000 = 600 megapixels"):
        inspect(bomb)
    large = whole[:8] + struct.pack(">II", 10_000, 6000) + whole[16:]
    with pytest.raises(ImageError) as caught:
        inspect(large)
    assert str(caught.value) == (
        "JPEG 2000 of 10000 x 6000 pixels and 3 components: more than 150 million samples"
    )
