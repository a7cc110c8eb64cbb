"""JPEGs with odd headers, of rare samplings and without loss: read as Pillow reads them.

odd-jpegs.zip holds small pictures made with cjpeg and libjpeg-turbo, named by what is odd.
"""

import io
import struct
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pictures import blocks, encode, exif, noise
from PIL import Image

from torchloupe.data.image import decode
from torchloupe.data.image.decode import decode_image
from torchloupe.data.image.formats import ImageError, inspect
from torchloupe.data.image.jpeg import explain_jpeg

with zipfile.ZipFile(Path(__file__).with_name("odd-jpegs.zip")) as archive:
    ODD = {name.removesuffix(".jpg"): archive.read(name) for name in archive.namelist()}
PLAIN = encode(noise(), "JPEG")
JFIF_END = 20  # of the first segment in what Pillow writes


def segment(marker, body):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


@pytest.mark.parametrize("name", [name for name in ODD if name != "12-bit"])
@pytest.mark.parametrize("channels", [1, 3])
def test_decode_of_an_odd_jpeg_is_that_of_pillow(name, channels):
    with Image.open(io.BytesIO(ODD[name])) as image:
        if channels == 1 and not name.startswith("lossless"):
            image.draft("L", image.size)
        wanted = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    found = decode_image(ODD[name], channels)
    assert (found[..., 0] if channels == 1 else found).tolist() == wanted.tolist()
    assert decode_image(ODD[name], channels, (2, 3)).shape == (2, 3, channels)


@pytest.mark.parametrize(
    "odd",
    [
        PLAIN[:JFIF_END] + b"some junk \xff\0" + PLAIN[JFIF_END:],
        PLAIN[:2] + b"\0" * 7 + PLAIN[2:],
        PLAIN[:JFIF_END] + b"\xff" * 9 + PLAIN[JFIF_END:],
        PLAIN[:11] + b"\0\0" + PLAIN[13:],  # JFIF 0.00
        PLAIN[:JFIF_END] + segment(0xE2, b"ICC_PROFILE\0\x05\x02xx") + PLAIN[JFIF_END:],
        PLAIN[:JFIF_END] + segment(0xEE, b"Ado") + PLAIN[JFIF_END:],
        PLAIN[:JFIF_END] + b"\xff\xe5\0\0" + PLAIN[JFIF_END:],
        PLAIN[:JFIF_END] + segment(0xE0, b"JFXX\0\x10rubbish") + PLAIN[JFIF_END:],
        PLAIN[:JFIF_END] + b"\xff\xd0\xff\x01" + PLAIN[JFIF_END:],
    ],
)
def test_decode_reads_a_jpeg_whatever_stands_between_what_it_needs(odd):
    assert (decode_image(odd, 3) == decode_image(PLAIN, 3)).all()
    assert (decode_image(odd, 1) == decode_image(PLAIN, 1)).all()


def test_inspect_hands_on_the_same_pixels_that_were_there():
    for data in (PLAIN, encode(noise(), "JPEG", exif=exif(6), comment=b"x" * 99), *ODD.values()):
        if data == ODD["12-bit"]:
            continue
        with Image.open(io.BytesIO(data)) as was, Image.open(io.BytesIO(inspect(data).data)) as now:
            assert np.array_equal(np.asarray(was), np.asarray(now))


@pytest.mark.parametrize(
    ("marker", "bits", "reason"),
    [
        (0xC0, 12, "JPEG of 12 bits per sample is not read here; convert it to PNG"),
        (0xC5, 8, "hierarchical JPEG is not read here; convert it to PNG"),
        (0xF7, 8, "JPEG-LS is not read here; convert it to PNG"),
    ],
)
def test_inspect_names_a_kind_of_jpeg_that_is_not_read(marker, bits, reason):
    at = PLAIN.index(b"\xff\xc0")
    odd = PLAIN[: at + 1] + bytes([marker]) + PLAIN[at + 2 : at + 4] + bytes([bits])
    with pytest.raises(ImageError) as caught:
        inspect(odd + PLAIN[at + 5 :])
    assert str(caught.value) == reason


def test_inspect_refuses_a_jpeg_of_12_bits():
    with pytest.raises(ImageError, match="JPEG of 12 bits per sample is not read here"):
        inspect(ODD["12-bit"])


@pytest.mark.parametrize("name", ["sampling-4x2", "sampling-1x4", "lossless-grey"])
@pytest.mark.parametrize("cut", [0.5, 0.95])
def test_decode_refuses_an_odd_jpeg_that_is_cut(name, cut):
    with pytest.raises(ImageError, match=r"truncated|damaged"):
        decode_image(ODD[name][: int(len(ODD[name]) * cut)], 3)


@pytest.mark.parametrize(
    ("name", "is_buffered"),
    [("sampling-4x2-progressive", True), ("three-scans", True), ("rgb", False)],
)
def test_inspect_tells_whether_all_coefficients_are_held(name, is_buffered):
    assert inspect(ODD[name]).is_buffered is is_buffered


class Watched:
    """A lock that counts how often it was held."""

    def __init__(self):
        self.count = 0

    def __enter__(self):
        self.count += 1

    def __exit__(self, *_):
        pass


@pytest.mark.parametrize(
    ("options", "size", "held"),
    [
        ({}, None, 1),
        ({}, (32, 32), 0),
        ({"progressive": True}, (32, 32), 1),
    ],
)
def test_decode_of_a_large_jpeg_waits_only_for_what_it_holds(monkeypatch, options, size, held):
    lock = Watched()
    monkeypatch.setattr(decode, "_large_images", SimpleNamespace(take=lambda pixels: lock))
    monkeypatch.setattr(decode, "LARGE_PIXELS", 300 * 200 - 1)
    decode_image(encode(blocks(300, 200), "JPEG", **options), 3, size)
    assert lock.count == held


def test_explain_jpeg_says_what_a_person_can_do():
    assert explain_jpeg("Corrupt JPEG data: 31 extraneous bytes before marker 0xd9") == (
        "damaged JPEG: there are extraneous bytes in its pixel data, as after "
        "a faulty transfer; if it looks right in a viewer, save it as a new file"
    )
    assert explain_jpeg("Premature end of JPEG file") == "truncated JPEG"
    assert explain_jpeg("Bogus DQT index 9") == "damaged JPEG: Bogus DQT index 9"


def test_decode_refuses_extraneous_bytes_in_words():
    at = PLAIN.rindex(b"\xff\xd9")
    with pytest.raises(ImageError, match="extraneous bytes in its pixel data"):
        decode_image(PLAIN[:at] + bytes(31) + PLAIN[at:], 3)


def test_inspect_refuses_a_jpeg_of_many_scans():
    progressive = encode(noise(), "JPEG", progressive=True)
    start = progressive.rindex(b"\xff\xda")
    scan = progressive[start:-2]
    bomb = progressive[:start] + scan * 80_000 + b"\xff\xd9"
    started = time.process_time()
    with pytest.raises(ImageError, match="JPEG of 16 x 12 pixels in 501 scans or more"):
        inspect(bomb)
    assert time.process_time() - started < 1


def test_inspect_does_not_count_scans_behind_the_picture():
    plain = encode(noise(), "JPEG")
    assert inspect(plain + b"\xff\xda\0\0" * 5000).size == (16, 12)  # a phone's video


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\0", b"\0", b"\xff\xd0"])
def test_inspect_of_a_header_of_junk_takes_no_time(filling):
    started = time.process_time()
    with pytest.raises(ImageError):
        inspect(PLAIN[:JFIF_END] + filling * 10**7)
    assert time.process_time() - started < 2
