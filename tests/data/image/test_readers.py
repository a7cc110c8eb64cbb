"""Pillow's readers: the same pixels as Pillow itself on a corpus made here, and plain reasons."""

import io
import re
from itertools import product

import numpy as np
import pytest
from pictures import HAS_AVIF, blocks, encode, exif, noise
from PIL import Image, ImageOps

from torchloupe.data.image.decode import decode_image, is_grey, read_size
from torchloupe.data.image.encoded import ImageError
from torchloupe.data.image.formats import inspect
from torchloupe.data.image.readers import open_image, reading

TIFFS = [
    {"compression": name}
    for name in (
        *("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group3", "group4"),
        *("lzma", "zstd", "tiff_deflate", "raw"),
    )
]
FORMS = {  # each format with the options that change how it stores pixels
    "PNG": [{}, {"optimize": True}, {"bits": 4}, {"bits": 2}, {"bits": 1}],
    "GIF": [{}, {"interlace": 0}],
    "BMP": [{}],
    "DIB": [{}],
    "PPM": [{}],
    "WEBP": [{}, {"lossless": True}, {"quality": 20, "method": 6}],
    "TIFF": [{}, *TIFFS, {"big_tiff": True}, {"tiffinfo": {278: 7}}],
    "JPEG": [
        *(
            {"subsampling": k, "quality": 85, "progressive": p}
            for k, p in product(range(3), (0, 1))
        ),
        {"restart_marker_blocks": 3},
        {"optimize": True, "dpi": (300, 300), "comment": b"x"},
    ],
    "JPEG2000": [{}, {"irreversible": True}, {"no_jp2": True}, {"tile_size": (32, 32)}],
    "TGA": [{}, {"compression": "tga_rle"}, {"orientation": 1}],
    "ICO": [{"sizes": [(32, 32)]}, {"sizes": [(32, 32)], "bitmap_format": "bmp"}],
    "PCX": [{}],
    "DDS": [{}, *({"pixel_format": name} for name in ("DXT1", "DXT3", "DXT5", "BC2", "BC3"))],
    "QOI": [{}],
    "AVIF": [{}, {"quality": 90}] if HAS_AVIF else [],
}
MODES = ["1", "L", "LA", "P", "P few", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "HSV"]
TURNED = ("JPEG", "PNG", "WEBP", "TIFF", *(("AVIF",) if HAS_AVIF else ()))
LEAST = 250  # of the combinations above that Pillow writes


def draw(mode):
    """A smooth picture of odd sides in this mode, with parts that are clear where it has alpha."""
    values = np.asarray(Image.fromarray(noise(5, 6)).resize((61, 43), Image.Resampling.BICUBIC))
    picture = Image.fromarray(values)
    grey = picture.convert("L")
    clear = grey.point(lambda value: value if value > 80 else 0)
    if mode == "I;16":
        return Image.fromarray(np.asarray(grey).astype(np.uint16) * 257 ^ 37)
    if mode == "P few":
        return picture.quantize(3)
    if mode in ("LA", "RGBA"):
        whole = grey if mode == "LA" else picture
        whole.putalpha(clear)
        return whole
    return picture.quantize(200) if mode == "P" else picture.convert(mode)


def as_pillow_reads(data):
    """The upright picture over white as RGB, by Pillow's own functions."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        upright = Image.fromarray(((np.asarray(upright).astype(int) + 128) // 257).astype(np.uint8))
    if upright.mode in ("LA", "PA", "RGBA") or "transparency" in upright.info:
        white = Image.new("RGBA", upright.size, "white")
        white.paste(upright.convert("RGBA"), mask=upright.convert("RGBA").getchannel("A"))
        upright = white
    return np.asarray(upright.convert("RGB"))


def make_corpus():
    """(name, file) of every mode in every format with every option that Pillow can write."""
    for mode, (form, several) in product(MODES, FORMS.items()):
        for options in several:
            try:
                yield f"{mode} {form} {options}", encode(draw(mode), form, **options)
            except (OSError, ValueError, KeyError, RuntimeError):
                continue  # Pillow doesn't write it
    for form, turn in product(TURNED, range(1, 9)):
        block = exif(turn)
        if form == "TIFF":
            block = Image.Exif()
            block[0x0112] = turn
        yield f"{form} turned {turn}", encode(blocks(), form, exif=block)


@pytest.mark.filterwarnings("ignore")
def test_decode_of_every_format_and_mode_is_that_of_pillow():
    wrong, count = [], 0
    for name, data in make_corpus():
        if "1 TGA" in name:
            continue  # of one bit, which the format does not have
        count += 1
        wanted = as_pillow_reads(data)
        colour, grey = decode_image(data, 3), decode_image(data, 1)
        if colour.shape != wanted.shape or (colour != wanted).any():
            wrong.append(name)
        luma = np.asarray(Image.fromarray(wanted).convert("L")).astype(int)
        if np.abs(grey[..., 0] - luma).max() > (20 if "JPEG" in name else 1):
            wrong.append(f"{name} in grey")
        assert read_size(data) == wanted.shape[:2], name
        if np.ptp(wanted, 2).max() == 0:
            assert is_grey(data), name
    assert wrong == []
    assert count >= LEAST


NO_REASON = re.compile(r"decoder error|-\d\b|0x[0-9a-f]{4}|b'|\\x|^\W*\d*\W*$")


def test_reasons_of_damaged_files_are_words():
    chance, reasons = np.random.default_rng(3), set()
    files = [data for name, data in make_corpus() if name.startswith(("RGB ", "P "))]
    for _ in range(3000):
        damaged = bytearray(files[chance.integers(len(files))])
        for at in (chance.random(4) ** 2 * len(damaged)).astype(int):
            damaged[at] = chance.choice((0, 255, chance.integers(256)))
        end = len(damaged) if chance.random() < 0.5 else chance.integers(1, len(damaged))
        try:
            decode_image(bytes(damaged[:end]), 3, (5, 7))
        except ImageError as error:
            reasons.add(str(error))
    assert len(reasons) > 30
    assert [reason for reason in reasons if NO_REASON.search(reason)] == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("decoder error -2"), "damaged BMP: its pixel data can't be decoded"),
        (OSError("broken data stream when reading image file"),
         "damaged BMP: its pixel data can't be decoded"),
        (KeyError(6), "damaged BMP: its header is invalid"),
        (SyntaxError("b'\\x00\\x01'"), "damaged BMP: its header is invalid"),
        (ValueError("17"), "damaged BMP: its header is invalid"),
        (TypeError("'NoneType' object is not subscriptable"),
         "damaged BMP: its header is invalid"),
        (OSError("cannot identify image file <_io.BytesIO object at 0x7fe1>"),
         "damaged BMP: its header is invalid"),
        (OSError(), "damaged BMP: its header is invalid"),
        (OSError("image file is truncated (3 bytes not processed)"), "truncated BMP"),
        (OSError("Unsupported BMP compression (6)"),
         "unreadable BMP: Unsupported BMP compression (6)"),
    ],
)  # fmt: skip
def test_reading_turns_errors_into_reasons(error, reason):
    with pytest.raises(ImageError) as caught, reading(inspect(encode(noise(), "BMP"))):
        raise error
    assert str(caught.value) == reason


def test_open_image_checks_the_size_and_loads_nothing():
    image = open_image(inspect(encode(noise(), "PCX")))
    assert image.size == (16, 12) and image.tile
