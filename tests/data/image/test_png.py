"""PNG: its orientation from every place that has one, and missing pixels found without cost."""

import zlib

import numpy as np
import pytest
from pictures import blocks, encode, exif, noise, png_chunk

from torchloupe.data.image import decode
from torchloupe.data.image.decode import decode_image
from torchloupe.data.image.formats import ImageError, inspect
from torchloupe.data.image.png import check_png_pixels, may_lack_rows

PLAIN = encode(blocks(), "PNG")
TURNED = np.rot90(blocks(), -1)  # orientation 6
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
RAW = b"\nexif\n      %d\n%s\n" % (len(exif(6)), exif(6).hex().encode())


def with_chunks(*chunks, at=33):
    return PLAIN[:at] + b"".join(png_chunk(*chunk) for chunk in chunks) + PLAIN[at:]


def itxt(text, packed=False):
    body = zlib.compress(text) if packed else text
    return b"XML:com.adobe.xmp\0" + bytes([packed, 0]) + b"en\0translated\0" + body


@pytest.mark.parametrize(
    "turned",
    [
        with_chunks((b"eXIf", exif(6)[6:])),
        with_chunks((b"eXIf", exif(6))),
        with_chunks((b"eXIf", exif(6)), at=len(PLAIN) - 12),
        with_chunks((b"iTXt", itxt(XMP))),
        with_chunks((b"iTXt", itxt(XMP, packed=True))),
        with_chunks((b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(RAW))),
        with_chunks((b"tEXt", b"Raw profile type exif\0" + RAW)),
        with_chunks((b"iTXt", itxt(XMP.replace(b"6", b"3"))), (b"eXIf", exif(6))),
        with_chunks((b"eXIf", b"MM\0*\0\0\0\x08\0\0"), (b"iTXt", itxt(XMP))),
    ],
)
def test_decode_turns_a_png_by_exif_and_by_xmp(turned):
    assert (decode_image(turned, 3) == TURNED).all()
    assert inspect(turned).orientation == 6


@pytest.mark.parametrize(
    "chunk",
    [
        (b"eXIf", b"\xff\xff"),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0rubbish"),
        (b"iTXt", b"XML:com.adobe.xmp"),
        (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n4\nno hex\n")),
        (b"tEXt", b"Raw profile type exif"),
        (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(10**8))),
    ],
)
def test_decode_reads_a_png_with_broken_metadata(chunk):
    assert (decode_image(with_chunks(chunk), 3) == blocks()).all()


def test_decode_unpacks_a_png_a_second_time_only_where_its_last_row_is_zero(monkeypatch):
    checked = []
    monkeypatch.setattr(decode, "check_png_pixels", checked.append)
    pixels = noise()
    decode_image(encode(pixels, "PNG"), 3)
    assert not checked
    pixels[-1] = 0
    decode_image(encode(pixels, "PNG"), 3)
    assert len(checked) == 1


@pytest.mark.parametrize("interlaced", [False, True])
def test_may_lack_rows_says_yes_for_zeros_and_interlacing(interlaced):
    data = PLAIN[:28] + bytes([interlaced]) + PLAIN[29:]
    assert may_lack_rows(data, True)
    assert may_lack_rows(data, False) is interlaced


def test_check_png_pixels_refuses_a_stream_that_ends_early():
    rows = b"".join(b"\0" + row.tobytes() for row in blocks())
    for count, is_whole in ((len(rows), True), (len(rows) - 1, False)):
        chunk = png_chunk(b"IDAT", zlib.compress(rows[:count]))
        data = PLAIN[:33] + chunk + png_chunk(b"IEND", b"")
        if is_whole:
            check_png_pixels(data)
            assert (decode_image(data, 3) == blocks()).all()
        else:
            for read in (check_png_pixels, lambda data: decode_image(data, 3)):
                with pytest.raises(ImageError, match="truncated PNG"):
                    read(data)
