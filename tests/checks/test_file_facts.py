"""Facts of files: format, size, camera and day, from their headers and names."""

import io

import numpy as np
from PIL import Image

from torchloupe.checks.file_facts import list_properties, read_facts


class Files:
    """Files in memory."""

    def __init__(self, *contents: object) -> None:
        self.contents = contents

    def read(self, row: int) -> object:
        return self.contents[row]


def encode(kind: str, size: tuple[int, int], camera: str = "") -> bytes:
    file = io.BytesIO()
    exif = Image.Exif()
    if camera:
        exif[0x010F], exif[0x0132] = camera, "2024:05:06 10:11:12"
    Image.new("RGB", size).save(file, kind, exif=exif)
    return file.getvalue()


def test_facts_are_those_of_the_header() -> None:
    files = Files(encode("PNG", (40, 20)), encode("JPEG", (30, 30), "Nikon"), b"junk", np.zeros(3))
    names = ["a/IMG_20240102_1.png", "b.jpg", "c.png", "3"]
    png, jpeg, junk, array = read_facts(files, range(4), names)
    assert (png.kind, png.width, png.height, png.day) == ("PNG", 40, 20, "20240102")
    assert (jpeg.kind, jpeg.camera, jpeg.day) == ("JPEG", "Nikon", "2024:05:06")
    assert junk == array
    assert junk.kind == ""


def test_properties_that_never_vary_are_left_out() -> None:
    files = Files(*[encode("PNG", (40, 20))] * 3)
    assert list_properties(read_facts(files, range(3), ["a", "b", "c"])) == {}
    files = Files(encode("PNG", (40, 20)), encode("JPEG", (40, 20)))
    assert set(list_properties(read_facts(files, range(2), ["a", "b"]))) == {
        "file format",
        "file size a pixel",
    }
