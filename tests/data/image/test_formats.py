"""What a file says it is: content over name, first frames, sizes and bombs refused by header."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pictures import avif, encode, exif, noise, png_chunk
from PIL import Image

from torchloupe.data.image.formats import (
    HEAD_BYTES,
    ImageError,
    begins_an_image,
    check_size,
    inspect,
    names_an_image,
)

NONE = (
    "none of JPEG, PNG, GIF, WebP, TIFF, BMP, PPM, AVIF, HEIC, JPEG 2000, TGA, ICO, PCX, DDS, QOI"
)
FORMS = [
    *("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "DIB", "PPM", avif),
    *("JPEG2000", "TGA", "PCX", "DDS", "QOI"),
]


@pytest.mark.parametrize("form", FORMS)
def test_inspect_knows_a_format_by_its_content(form):
    assert inspect(encode(noise(), form)).format == form


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file (0 bytes)"),
        (b"\n <!DOCTYPE html><html></html>", "not an image: it is a web page (HTML)"),
        (b"<?xml version='1.0'?><svg/>", "not an image: it is a drawing or other text (SVG, XML)"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "not an image: it is EPS (PostScript)"),
        (b"%PDF-1.7", "not an image: it is PDF"),
        (b"\0\0\0\x18ftypheic", "damaged HEIC: it does not say its size"),
        (b"\0\0\0\x18ftypmp42", "not an image: it is a video"),
        (
            b"\xff\x0a" + b"\1" * 40,
            "not an image: JPEG XL is not read here; convert it to PNG or JPEG "
            "(djxl IMAGE.jxl IMAGE.png)",
        ),
        (b"\0" * 100, "not an image: it holds nothing but zeros"),
        (b"hello, I am text", f"not an image: {NONE}"),
        (b"P7\nWIDTH 2", f"not an image: {NONE}"),
        (b"\xff\xd8\xff", "truncated in its header"),
        (b"\x89PNG\r\n\x1a\n", "damaged PNG: no header chunk"),
    ],
)
def test_inspect_says_why_something_is_no_image(content, reason):
    with pytest.raises(ImageError) as caught:
        inspect(content)
    assert str(caught.value) == reason


@pytest.mark.parametrize("form", [form for form in FORMS if form != "TGA"])
def test_begins_an_image_knows_a_format_by_its_first_bytes(form):
    assert begins_an_image(encode(noise(), form)[:HEAD_BYTES])


@pytest.mark.parametrize(
    "head",
    [
        *(
            b"",
            b"P",
            b"BM",
            b"BMW is a make of cars, and this is a text of some length",
            b"\n" * 128,
        ),
        *(b"%PDF-1.7", b"PK\3\4", b"id,label\n1,cat\n", bytes(128), b"\0\0\0\x18ftypmp42"),
    ],
)
def test_begins_an_image_says_no_to_other_files(head):
    assert not begins_an_image(head)


def test_begins_an_image_says_yes_to_jpeg_xl_which_is_refused_with_what_to_do():
    assert begins_an_image(b"\xff\x0a" + bytes(9))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_inspect_reads_the_orientation(form, orientation):
    assert inspect(encode(noise(), form, exif=exif(orientation))).orientation == orientation


def test_inspect_keeps_only_what_a_png_needs():
    plain = encode(noise(), "PNG")
    texts = b"".join(png_chunk(b"tEXt", b"comment\0" + b"x" * 1000) for _ in range(1000))
    found = inspect(plain[:33] + texts + plain[33:])
    assert found.data == plain and found.size == (16, 12)


def test_inspect_keeps_only_the_first_frame_of_a_gif():
    frames = [Image.fromarray(noise(seed=k)) for k in range(5)]
    many = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert len(inspect(many).data) < len(many) / 3


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", avif])
def test_inspect_finds_any_cut_in_the_header(form):
    whole = encode(noise(), form)
    for end in range(1, 60):
        with pytest.raises(ImageError):
            inspect(whole[:end])


@pytest.mark.parametrize("place", [25, 30, 45, 60])
def test_inspect_finds_a_flipped_bit_in_a_png(place):
    damaged = bytearray(encode(noise(), "PNG"))
    damaged[place] ^= 1
    with pytest.raises(ImageError, match="checksum"):
        inspect(bytes(damaged))


def test_check_size_refuses_no_pixels_and_too_many():
    with pytest.raises(ImageError, match="header says 0 x 5 pixels"):
        check_size(0, 5)
    check_size(10_000, 10_000)
    with pytest.raises(ImageError, match="header says 30000 x 20000 = 600 megapixels, more than"):
        check_size(30_000, 20_000)


@pytest.fixture(scope="module")
def bombs():
    done = subprocess.run(
        [sys.executable, "-W", "error", "bombs.py"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("gigapixel png", "header says 65000 x 65000 = 4225 megapixels, more than 100"),
        ("png of chunks", "PNG of more than 200,000 chunks"),
        ("png with 60 MB of exif", "damaged PNG: no pixels"),
        ("gif of 100,000 frames", "(8, 8, 3)"),
        ("gif screen", "header says 65535 x 65535 = 4295 megapixels, more than 100"),
        ("gif of comments", "GIF of too many blocks before its first frame"),
        ("jpeg with 60 MB of exif", "(8, 8, 3)"),
        ("jpeg of empty segments", "more than 200,000 segments before the pixels"),
        ("jpeg header", "header says 30000 x 20000 = 600 megapixels, more than 100"),
        ("bmp header", "header says 30000 x 30000 = 900 megapixels, more than 100"),
        ("ppm header", "header says 30000 x 20000 = 600 megapixels, more than 100"),
        ("webp header", "header says 16384 x 16384 = 268 megapixels, more than 100"),
        ("jpeg 2000 header", "header says 30000 x 20000 = 600 megapixels, more than 100"),
        ("jpeg 2000 of empty pixels", "(8, 8, 3)"),
        ("dds header", "header says 30000 x 30000 = 900 megapixels, more than 100"),
        ("qoi of runs", "(8, 8, 3)"),
        ("tga of runs", "(8, 8, 3)"),
        ("icon with a large png", "header says 65000 x 65000 = 4225 megapixels, more than 100"),
        ("eps", "not an image: it is EPS (PostScript)"),
        ("tiff", "header says 30000 x 20000 = 600 megapixels, more than 100"),
    ],
)
def test_bomb_costs_little_and_the_next_image_is_decoded(bombs, name, outcome):
    found, seconds, megabytes = bombs[name]
    assert found == outcome
    assert seconds < 20  # of the processor; about 1 at most
    assert megabytes < 150


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.JPG", b"no image", True),  # reading it will say so
        ("a", b"no image", False),
        ("a.txt", encode(noise(), "PNG"), False),
        ("a", encode(noise(), "PNG"), True),
        ("scan.0042", encode(noise(), "TIFF"), True),
        ("a", b"", False),
        ("a.heic", b"", True),
        ("a.jxl", b"", True),
    ],
)
def test_names_an_image_goes_by_the_ending_and_without_one_by_content(
    tmp_path, name, content, expected
):
    (tmp_path / name).write_bytes(content)
    assert names_an_image(str(tmp_path / name)) is expected
    assert not names_an_image(str(tmp_path / "none"))
