"""What a file says it is: content over name, first frames, sizes and bombs refused by header."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pictures import avif, encode, exif, noise, png_chunk
from PIL import Image

from torchloupe.data.image.formats import ImageError, check_size, exif_orientation, inspect


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", avif])
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
        (b"\0\0\0\x18ftypheic", "not an image: HEIC is not read here; convert it to JPEG"),
        (b"\0" * 100, "not an image: it holds nothing but zeros"),
        (
            b"hello, I am text",
            "not an image: none of JPEG, PNG, GIF, WebP, TIFF, BMP, PPM, AVIF",
        ),
        (b"P7\nWIDTH 2", "not an image: none of JPEG, PNG, GIF, WebP, TIFF, BMP, PPM, AVIF"),
        (b"\xff\xd8\xff", "truncated in its header"),
        (b"\x89PNG\r\n\x1a\n", "damaged PNG: no header chunk"),
    ],
)
def test_inspect_says_why_something_is_no_image(content, reason):
    with pytest.raises(ImageError) as caught:
        inspect(content)
    assert str(caught.value) == reason


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_inspect_reads_the_orientation(form, orientation):
    assert inspect(encode(noise(), form, exif=exif(orientation))).orientation == orientation


@pytest.mark.parametrize(
    ("block", "orientation"),
    [
        (b"", 1),
        (b"II*\0", 1),
        (b"II*\0\x08\0\0\0", 1),
        (b"II*\0\xff\xff\xff\xff\x01\0", 1),  # the table lies behind the end
        (b"II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0\x01\0\0\0\x06\0\0\0", 6),
        (b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0", 8),
        (b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0", 1),
        (b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\0\0\0", 1),
    ],
)
def test_exif_orientation_is_1_where_the_block_is_odd(block, orientation):
    assert exif_orientation(block) == orientation


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


def test_inspect_refuses_a_jpeg_of_many_scans():
    progressive = encode(noise(), "JPEG", progressive=True)
    start = progressive.rindex(b"\xff\xda")
    scan = progressive[start:-2]
    bomb = progressive[:start] + scan * 80_000 + b"\xff\xd9"
    started = time.process_time()
    with pytest.raises(ImageError, match="JPEG of 16 x 12 pixels in 501 scans or more"):
        inspect(bomb)
    assert time.process_time() - started < 10


def test_inspect_does_not_count_scans_behind_the_picture():
    plain = encode(noise(), "JPEG")
    assert inspect(plain + b"\xff\xda\0\0" * 5000).size == (16, 12)  # a phone's video


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
        ("eps", "not an image: it is EPS (PostScript)"),
        ("tiff", "header says 30000 x 20000 = 600 megapixels, more than 100"),
    ],
)
def test_bomb_costs_little_and_the_next_image_is_decoded(bombs, name, outcome):
    found, seconds, megabytes = bombs[name]
    assert found == outcome
    assert seconds < 20  # of the processor; about 1 at most
    assert megabytes < 150
