"""Odd images as encoded files, made from noise: what an artefact must read as its run does."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

Files = Iterator[tuple[str, bytes]]
_XMP = b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
_SIDES = {  # height, width
    "tall": (400, 37),
    "wide": (37, 400),
    "large": (640, 900),
    "one pixel": (1, 1),
    "one row": (1, 50),
    "one column": (50, 1),
}


def make_odd_files() -> Files:
    """(name, encoded image) of each odd image, the same ones each time."""
    rng = np.random.default_rng(16)
    yield from _turned(rng)
    yield from _modes(rng)
    for name, (height, width) in _SIDES.items():
        picture = Image.fromarray(_scene(rng, height, width))
        yield f"{name}.jpg", _encode(picture, "JPEG", quality=90)
        yield f"{name}.png", _encode(picture, "PNG")
    picture = Image.fromarray(_scene(rng, 150, 200))
    for name, options in {
        "subsampled": {"subsampling": 2},
        "full colour": {"subsampling": 0},
    }.items():
        yield f"{name}.jpg", _encode(picture, "JPEG", quality=85, **options)
    yield "progressive.jpg", _encode(picture, "JPEG", progressive=True)
    yield "picture.webp", _encode(picture, "WEBP", quality=90)
    yield "picture.bmp", _encode(picture, "BMP")
    yield "picture.tif", _encode(picture, "TIFF")
    yield "picture.gif", _encode(picture, "GIF")
    yield from _of_cameras(rng)


def make_files_of(size: tuple[int, int]) -> Files:
    """(name, encoded image) of images of one size [height, width], in colour and grey."""
    rng = np.random.default_rng(17)
    for number in range(8):
        picture = Image.fromarray(_scene(rng, *size))
        plain = picture.convert("L") if number % 2 else picture
        form, options = ("PNG", {}) if number < 6 else ("JPEG", {"quality": 95})
        yield f"size {number}.{form.lower()}", _encode(plain, form, **options)


def _turned(rng: np.random.Generator) -> Files:
    picture = Image.fromarray(_scene(rng, 120, 170))
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        yield f"turn {turn}.jpg", _encode(picture, "JPEG", exif=exif)
    yield "turn 6.png", _encode(picture, "PNG", exif=_exif(6))
    yield "turn 8.webp", _encode(picture, "WEBP", lossless=True, exif=_exif(8))
    yield "turn 3.tif", _encode(picture, "TIFF", exif=_exif(3))


def _of_cameras(rng: np.random.Generator) -> Files:
    """Two pictures in a file, large enough to be reduced, and orientations noted in XMP."""
    picture = Image.fromarray(_scene(rng, 700, 900))
    yield "two.mpo", _encode(picture, "MPO", save_all=True, append_images=[picture])
    small = picture.resize((120, 90))
    yield "noted.jpg", _encode(small, "JPEG", xmp=_XMP)
    yield "noted.webp", _encode(small, "WEBP", lossless=True, xmp=_XMP)
    yield "noted.tif", _encode(small, "TIFF", tiffinfo={700: _XMP})
    known = PngInfo()
    known.add_itxt("XML:com.adobe.xmp", _XMP.decode())
    yield "noted.png", _encode(small, "PNG", pnginfo=known)


def _exif(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = turn
    return exif


def _modes(rng: np.random.Generator) -> Files:
    pixels = _scene(rng, 110, 140)
    picture = Image.fromarray(pixels)
    clear = np.dstack([pixels, _scene(rng, 110, 140)[..., 0]])
    deep = (_scene(rng, 110, 140)[..., 0].astype(np.uint16) << 8) + 77
    palette = picture.quantize(40)
    yield "cmyk.jpg", _encode(picture.convert("CMYK"), "JPEG", quality=92)
    yield "grey.jpg", _encode(picture.convert("L"), "JPEG", quality=92)
    yield "grey.png", _encode(picture.convert("L"), "PNG")
    yield "palette.png", _encode(palette, "PNG")
    yield "clear palette.png", _encode(palette, "PNG", transparency=3)
    yield "alpha.png", _encode(Image.fromarray(clear), "PNG")
    yield "grey alpha.png", _encode(Image.fromarray(clear).convert("LA"), "PNG")
    yield "16 bits.png", _encode(Image.fromarray(deep), "PNG")
    yield "black and white.png", _encode(picture.convert("1"), "PNG")


def _scene(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Colours that change slowly, with edges and noise: [H, W, 3]."""
    down, across = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    tones = rng.uniform(1, 9, (3, 2))
    waves = [np.sin(a * down * 6 + b * across * 5) for a, b in tones]
    picture = np.stack(waves, axis=-1) * 90 + 128 + 40 * (across > down)[..., None]
    noise = rng.normal(0, 12, picture.shape)
    return np.asarray((picture + noise).clip(0, 255), dtype=np.uint8)


def _encode(picture: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()
