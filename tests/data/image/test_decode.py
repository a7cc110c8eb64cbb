"""Every odd image has one outcome: these are the outcomes."""

import io
import random
import threading
import warnings
import zlib

import numpy as np
import pytest
from pictures import HAS_AVIF, avif, avif_95, blocks, encode, exif, noise, png, png_chunk
from PIL import Image, ImageOps

from torchloupe.data.image.decode import ImageError, decode_image, is_grey, read_size

LOSSLESS = [
    ("PNG", {}),
    ("BMP", {}),
    ("PPM", {}),
    ("WEBP", {"lossless": True}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "tiff_adobe_deflate"}),
    *(("JPEG2000", {}), ("TGA", {}), ("TGA", {"compression": "tga_rle"})),
    *(("PCX", {}), ("DDS", {}), ("DIB", {})),
]


@pytest.mark.parametrize(("form", "options"), LOSSLESS)
@pytest.mark.parametrize("channels", [1, 3])
def test_decode_gives_the_pixels_that_were_stored(form, options, channels):
    pixels = noise(channels=channels)
    stored = pixels if channels == 3 else pixels[:, :, None]
    assert (decode_image(encode(pixels, form, **options), channels) == stored).all()


@pytest.mark.parametrize("form", ["JPEG", "GIF", avif])
def test_decode_of_lossy_formats_is_near_what_was_stored(form):
    found = decode_image(encode(blocks(), form), 3).astype(int)
    assert found.shape == (48, 32, 3) and np.abs(found - blocks()).mean() < 6


def test_decode_takes_the_content_and_not_the_name(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(noise(), "PNG"))
    assert (decode_image(path.read_bytes(), 3) == noise()).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        avif_95,
    ],
)
def test_decode_turns_an_image_upright(form, options, orientation):
    block = exif(orientation)
    if form == "TIFF":
        block = Image.Exif()
        block[0x0112] = orientation
    encoded = encode(blocks(), form, exif=block, **options)
    picture = Image.fromarray(blocks())
    picture.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(picture)).astype(int)
    found = decode_image(encoded, 3)
    assert found.shape == upright.shape == ((48, 32, 3) if orientation < 5 else (32, 48, 3))
    assert np.abs(found - upright).mean() < (0.01 if form in ("PNG", "WEBP", "TIFF") else 8)
    assert read_size(encoded) == upright.shape[:2]


def test_decode_turns_before_it_fits():
    encoded = encode(blocks(300, 200), "JPEG", exif=exif(6), quality=95)
    found = decode_image(encoded, 3, (20, 30)).astype(int)  # reduced in decoding, then turned
    upright = Image.fromarray(blocks(300, 200)).transpose(Image.Transpose.ROTATE_270)
    wanted = np.asarray(upright.resize((30, 20), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(found - wanted).mean() < 3


@pytest.mark.parametrize(
    "damage", [b"\xff\xe1\x00\x08Exif\0\0", b"\xff\xe1\x00\x0eExif\0\0II*\0\xff\xff"]
)
def test_decode_reads_an_image_with_broken_exif(damage):
    encoded = encode(noise(), "JPEG")
    assert decode_image(encoded[:2] + damage + encoded[2:], 3).shape == (12, 16, 3)


def test_decode_of_cmyk_jpeg_is_ink_over_paper_as_adobe_stores_it():
    inks = Image.merge("CMYK", [Image.new("L", (16, 16), v) for v in (200, 40, 90, 30)])
    found = decode_image(encode(inks, "JPEG", quality=100), 3)[8, 8].astype(int)
    wanted = [(255 - ink) * (255 - 30) / 255 for ink in (200, 40, 90)]
    assert np.abs(found - wanted).max() <= 2
    grey = decode_image(encode(inks, "JPEG", quality=100), 1)[8, 8, 0]
    assert abs(int(grey) - np.dot(wanted, [0.299, 0.587, 0.114])) <= 2


def test_decode_of_ycck_jpeg_is_that_of_the_same_cmyk():
    pillow = encode(Image.fromarray(blocks()).convert("CMYK"), "JPEG", quality=95)
    at = pillow.index(b"Adobe")
    assert pillow[at + 11] in (0, 2)
    ycck = pillow[: at + 11] + b"\x02" + pillow[at + 12 :]  # the same numbers read as YCCK
    found = decode_image(ycck, 3)
    with Image.open(io.BytesIO(ycck)) as image:
        assert np.abs(found.astype(int) - np.asarray(image.convert("RGB"))).max() <= 1


def test_decode_puts_alpha_over_white():
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = [0, 128, 255]
    assert decode_image(encode(pixels, "PNG"), 3)[0, :, 0].tolist() == [255, 127, 0]
    assert decode_image(encode(pixels, "PNG"), 1)[0, :, 0].tolist() == [255, 127, 0]
    grey_alpha = Image.fromarray(pixels).convert("LA")
    assert decode_image(encode(grey_alpha, "PNG"), 1)[0, :, 0].tolist() == [255, 127, 0]
    assert (
        decode_image(encode(pixels, "WEBP", lossless=True, exact=True), 3)[0, 0].tolist()
        == [255] * 3
    )


def test_decode_of_a_palette_with_transparency_is_over_white():
    palette = Image.new("P", (3, 1))
    palette.putpalette([0, 0, 0, 200, 0, 0, 0, 100, 0])
    palette.putdata([0, 1, 2])
    encoded = encode(palette, "PNG", transparency=bytes([0, 255, 51]))
    assert decode_image(encoded, 3)[0].tolist() == [[255, 255, 255], [200, 0, 0], [204, 224, 204]]
    one = encode(palette, "GIF", transparency=1)
    assert decode_image(one, 3)[0].tolist() == [[0, 0, 0], [255, 255, 255], [0, 100, 0]]


def test_decode_of_one_transparent_colour_is_white():
    encoded = encode(
        np.array([[[10, 20, 30], [10, 20, 31]]], np.uint8), "PNG", transparency=(10, 20, 30)
    )
    assert decode_image(encoded, 3)[0].tolist() == [[255, 255, 255], [10, 20, 31]]


def test_decode_divides_16_bit_grey_by_257():
    values = np.array([[0, 128, 129, 257, 257 * 100, 65_535]], np.uint16)
    wanted = [0, 0, 1, 1, 100, 255]
    for form in ("PNG", "TIFF"):
        assert decode_image(encode(values, form), 1)[0, :, 0].tolist() == wanted
    pgm = b"P5 6 1 65535\n" + values.astype(">u2").tobytes()
    assert decode_image(pgm, 1)[0, :, 0].tolist() == wanted
    assert decode_image(encode(values, "PNG"), 3)[0, :, 2].tolist() == wanted


def test_decode_of_16_bit_grey_with_a_transparent_value_is_white_there():
    rows = b"\0" + np.array([0, 257 * 9], ">u2").tobytes()
    encoded = png(2, 1, 16, 0, (b"tRNS", b"\x09\x09"), (b"IDAT", zlib.compress(rows)))
    assert decode_image(encoded, 1)[0, :, 0].tolist() == [0, 255]


def test_decode_takes_the_high_byte_of_16_bit_colour():
    rows = b"\0" + np.array([0x1234, 0xFFFF, 0x00FF], ">u2").tobytes()
    encoded = png(1, 1, 16, 2, (b"IDAT", zlib.compress(rows)))
    assert decode_image(encoded, 3)[0, 0].tolist() == [0x12, 0xFF, 0]


def test_decode_of_1_bit_is_0_and_255():
    bits = Image.fromarray(np.array([[0, 255, 255]], np.uint8)).convert("1")
    for form in ("PNG", "TIFF", "BMP", "PPM"):
        assert decode_image(encode(bits, form), 1)[0, :, 0].tolist() == [0, 255, 255]
    assert decode_image(b"P1 2 1\n1 0\n", 1)[0, :, 0].tolist() == [0, 255]


def test_decode_stretches_ppm_of_another_maximum():
    assert decode_image(b"P2 3 1 10\n0 5 10\n", 1)[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_decode_gives_the_first_frame_of_an_animation(form):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    options = {"lossless": True} if form == "WEBP" else {}
    many = encode(frames[0], form, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(many)) as image:
        assert image.n_frames == 3
    assert decode_image(many, 3)[4, 4].tolist() == [255, 0, 0]


def test_decode_gives_the_first_page_of_a_tiff():
    pages = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green")]
    many = encode(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert decode_image(many, 3)[4, 4].tolist() == [255, 0, 0]


def test_decode_gives_a_gif_frame_in_its_place_on_the_screen():
    small = encode(Image.new("P", (2, 2), 1), "GIF")
    at = small.index(b",")
    moved = small[:6] + b"\x05\0\x04\0" + small[10 : at + 1] + b"\x02\0\x01\0" + small[at + 5 :]
    assert decode_image(moved, 3).shape == (4, 5, 3)


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    ("form", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), *LOSSLESS, ("GIF", {}), avif_95],
)
def test_decode_refuses_a_truncated_file(form, options, cut):
    whole = encode(noise(60, 80), form, **options)
    with pytest.raises(ImageError):
        decode_image(whole[: int(len(whole) * cut)], 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_decode_refuses_a_file_cut_by_one_byte(form):
    whole = encode(noise(60, 80), form)
    with pytest.raises(ImageError, match=f"truncated {form}"):
        decode_image(whole[:-1], 3)
    with pytest.raises(ImageError, match=f"truncated {form}"):
        decode_image(whole[:-3000], 3, (8, 8))


def test_decode_refuses_a_damaged_jpeg():
    damaged = bytearray(encode(noise(60, 80), "JPEG"))
    damaged[900:960] = bytes(60)
    with pytest.raises(
        ImageError, match="damaged JPEG: there are extraneous bytes in its pixel data"
    ):
        decode_image(bytes(damaged), 3)


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize(("depth", "colour"), [(1, 0), (2, 3), (8, 2), (16, 6), (4, 0), (8, 4)])
def test_decode_refuses_a_png_that_holds_too_few_pixels(interlaced, depth, colour):
    head = png(9, 5, depth, colour, (b"PLTE", bytes(12)))[:-12]
    fields = head[16:28] + bytes([interlaced])
    head = head[:8] + png_chunk(b"IHDR", fields) + head[33:]

    def make(count):
        return head + png_chunk(b"IDAT", zlib.compress(bytes(count))) + png_chunk(b"IEND", b"")

    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    count = 5 * (1 + -(-9 * bits // 8))
    if interlaced:  # width and height of Adam7's passes over 9 x 5 pixels
        passes = [(2, 1), (1, 1), (3, 1), (2, 2), (5, 1), (4, 3), (9, 2)]
        count = sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in passes)
    assert decode_image(make(count), 3).shape == (5, 9, 3)
    with pytest.raises(ImageError, match="truncated PNG"):
        decode_image(make(count - 1), 3)
    with pytest.raises(ImageError, match="PNG"):
        decode_image(head + png_chunk(b"IDAT", b"rubbish") + png_chunk(b"IEND", b""), 3)


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_decode_reads_a_jpeg_with_rubbish_behind_it(cut):
    whole = encode(noise(), "JPEG")
    assert (decode_image(whole + b"rubbish" * 100, 3) == decode_image(whole, 3)).all()


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.zeros((2, 2), np.float32), "floating-point pixels have no fixed range"),
        (np.zeros((2, 2), np.int32), "signed or 32-bit pixels have no fixed range"),
    ],
)
def test_decode_refuses_pixels_without_a_range(pixels, reason):
    with pytest.raises(ImageError, match=reason):
        decode_image(encode(pixels, "TIFF"), 1)


def test_decode_lets_no_warning_of_pillow_out_from_any_thread():
    odd = encode(noise(), "TIFF", description="x" * 40)
    at = odd.index(b"\x0e\x01\x02\0")  # the description becomes an orientation of 3 numbers
    odd = odd[:at] + b"\x12\x01\x03\0\3\0\0\0" + odd[at + 8 :]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with Image.open(io.BytesIO(odd)) as image:
            image.load()
    assert seen  # Pillow does warn of it
    failures = []

    def work():
        try:
            for _ in range(20):
                decode_image(odd, 3)
        except Exception as error:
            failures.append(error)

    filters = list(warnings.filters)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert warnings.filters == filters


def test_decode_of_grey_is_itu_601_for_all_but_jpeg():
    red_green_blue = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert decode_image(encode(red_green_blue, "PNG"), 1)[0, :, 0].tolist() == [76, 150, 29]
    grey = decode_image(encode(blocks(), "JPEG", quality=95), 1)[:, :, 0].astype(int)
    assert np.abs(grey - np.asarray(Image.fromarray(blocks()).convert("L"))).mean() < 3


def test_decode_reduces_a_large_jpeg_and_gives_nearly_the_same():
    smooth = np.asarray(Image.fromarray(noise(8, 8)).resize((1000, 800), Image.Resampling.BICUBIC))
    encoded = encode(smooth, "JPEG", quality=95)
    whole = Image.fromarray(decode_image(encoded, 3))
    for fit in ("crop", "pad", "stretch"):
        found = decode_image(encoded, 3, (32, 32), fit=fit).astype(int)
        box = (100, 0, 900, 800) if fit == "crop" else None
        wanted = np.asarray(whole.resize((32, 32), Image.Resampling.BILINEAR, box=box)).astype(int)
        if fit != "pad":
            assert np.abs(found - wanted).mean() < 1.5


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (noise(channels=1), True),
        (noise(), False),
        (np.repeat(noise(channels=1)[:, :, None], 3, 2), True),
    ],
)
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_is_grey_looks_at_the_colours_and_not_at_the_mode(pixels, expected, form):
    assert is_grey(encode(pixels, form)) is expected


def test_decode_survives_mutated_files():
    random.seed(7)
    whole = [
        encode(noise(), "JPEG"), encode(noise(), "JPEG", progressive=True, exif=exif(5)),
        encode(noise(), "PNG"), encode(noise(), "GIF"), encode(noise(), "BMP"),
        encode(noise(), "WEBP"), encode(noise(), "TIFF", compression="tiff_lzw"),
        encode(noise(), "TIFF"), encode(noise(), "PPM"), encode(noise(), "JPEG2000"),
        encode(noise(), "TGA", compression="tga_rle"), encode(noise(), "ICO", sizes=[(9, 9)]),
        encode(noise(), "PCX"), encode(noise(), "DDS", pixel_format="DXT1"),
        encode(noise(), "QOI"), encode(noise(16, 16), "ICO", bitmap_format="bmp"),
    ]  # fmt: skip
    if HAS_AVIF:
        whole.append(encode(noise(), "AVIF"))
    refused = 0
    for _ in range(4000):
        mutated = bytearray(random.choice(whole))
        for _ in range(random.choice((1, 2, 8))):
            at = int(random.random() ** 2 * len(mutated))
            mutated[at] = random.choice((0, 255, 127, random.randrange(256)))
        end = random.choice((len(mutated), random.randrange(len(mutated))))
        try:
            assert decode_image(bytes(mutated[:end]), 3, (5, 7)).shape == (5, 7, 3)
        except ImageError as error:
            refused += 1
            assert "\n" not in str(error)
    assert 1000 < refused < 4000
