"""Small pictures in every encoding, made on the spot, for the tests of data/."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

Image.init()
avif = pytest.param("AVIF", marks=pytest.mark.skipif("AVIF" not in Image.SAVE, reason="no AVIF"))
avif_95 = pytest.param("AVIF", {"quality": 95}, marks=avif.marks)
HAS_AVIF = "AVIF" in Image.SAVE


def noise(height=12, width=16, channels=3, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    return pixels[:, :, 0] if channels == 1 else pixels


def blocks(height=48, width=32, seed=0):
    """Six flat blocks of different colours: survives lossy formats, and shows every turn."""
    colours = np.random.default_rng(seed).integers(0, 256, (3, 2, 3), np.uint8)
    return np.kron(colours, np.ones((height // 3, width // 2, 1), np.uint8))


def encode(pixels, form, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth=8, colour=0, *chunks):
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = b"".join(png_chunk(*chunk) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + body + png_chunk(b"IEND", b"")
