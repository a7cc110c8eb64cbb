"""Run by test_formats.py in a process of its own: image bombs, their cost, the image after them."""

import json
import re
import struct
import time
import zlib
from pathlib import Path

from pictures import encode, noise, png
from PIL import Image

from torchloupe.data.image.decode import ImageError, decode_image

gif, jpeg = encode(noise(), "GIF"), encode(noise(), "JPEG")
jp2 = encode(noise(), "JPEG2000", no_jp2=True)
BIG = b"\x30\x75\0\0"  # 30,000, little-endian
PNG = png(65_000, 65_000, 8, 0, (b"IDAT", b""))
ICON = struct.pack("<HHHBBBBHH", 0, 1, 1, 0, 0, 0, 0, 1, 32)
QOI = b"qoif" + struct.pack(">IIBB", 4000, 4000, 3, 0)
EXIF = b"\xff\xe1\xff\xff" + bytes(65533)
BMP = b"BM" + bytes(8) + b"6\0\0\0(\0\0\0" + BIG * 2
WEBP = b"RIFF \0\0\0WEBPVP8X\n\0\0\0" + bytes(4) + b"\xff?\0\xff?\0"


def peak_bytes():
    """The most memory this process ever held, since `forget_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+)", status)[1]) * 1024


def forget_peak():
    Path("/proc/self/clear_refs").write_text("5")


BOMBS = {
    "gigapixel png": lambda: png(65_000, 65_000, 8, 0, (b"IDAT", zlib.compress(bytes(10**7)))),
    "png of chunks": lambda: png(1, 1, 8, 0, *[(b"IDAT", b"")] * 300_000),
    "png with 60 MB of exif": lambda: png(9000, 9000, 8, 0, (b"eXIf", bytes(60 * 10**6))),
    "gif of 100,000 frames": lambda: gif[:-1] + gif[gif.index(b",") : -1] * 100_000 + b";",
    "gif screen": lambda: gif[:6] + b"\xff" * 4 + gif[10:],
    "gif of comments": lambda: gif[:13] + b"!\xfe\0" * 5_000_000 + gif[13:],
    "jpeg with 60 MB of exif": lambda: jpeg[:2] + EXIF * 916 + jpeg[2:],
    "jpeg of empty segments": lambda: jpeg[:2] + b"\xff\xfe\0\2" * 1_000_000 + jpeg[2:],
    "jpeg header": lambda: jpeg.replace(b"\x08\0\x0c\0\x10", b"\x08\x4e\x20\x75\x30"),
    "bmp header": lambda: BMP + b"\1\0\x18\0" + bytes(24),
    "ppm header": lambda: b"P6 30000 20000 255\n" + bytes(100),
    "webp header": lambda: WEBP + bytes(30),
    "eps": lambda: b"%!PS-Adobe-3.0 EPSF-3.0",
    "jpeg 2000 header": lambda: jp2[:8] + b"\0\0\x75\x30\0\0\x4e\x20" + jp2[16:],
    "jpeg 2000 of empty pixels": lambda: encode(
        Image.new("L", (4000, 4000)), "JPEG2000", quality_layers=[1000]
    ),
    "dds header": lambda: b"DDS " + bytes([124, 0, 0, 0]) + bytes(4) + BIG * 2 + bytes(108),
    "qoi of runs": lambda: QOI + b"\xfd" * 270_000 + bytes(7) + b"\1",
    "tga of runs": lambda: encode(Image.new("L", (6000, 6000)), "TGA", compression="tga_rle"),
    "icon with a large png": lambda: ICON + struct.pack("<II", len(PNG), 22) + PNG,
    "tiff": lambda: encode(Image.new("1", (30_000, 20_000)), "TIFF", compression="group4"),
}  # fmt: skip
found = {}
for name, make in BOMBS.items():
    bomb = make()
    forget_peak()
    before = peak_bytes()
    started = time.process_time()
    try:
        outcome = str(decode_image(bomb, 3, (8, 8)).shape)
    except ImageError as error:
        outcome = str(error)
    seconds = time.process_time() - started
    grown = peak_bytes() - before
    decode_image(jpeg, 3, (8, 8))
    found[name] = [outcome, seconds, grown / 10**6]
print(json.dumps(found))
