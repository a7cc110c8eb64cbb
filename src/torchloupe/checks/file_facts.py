"""Facts of image files that are no part of the picture: format, size, camera, day.

Only headers are looked at; a file that can't be read has empty facts.
"""

import io
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CAMERA, MODEL, TIME = 0x010F, 0x0110, 0x0132  # EXIF tags of the first directory
_DAY = re.compile(r"(?:19|20)\d\d[-_]?(?:0[1-9]|1[0-2])[-_]?(?:0[1-9]|[12]\d|3[01])(?!\d)")
LEAST_KNOWN = 0.5  # fraction of the images that have a fact, below which it is left out


class Reader(Protocol):
    """Gives the bytes of an image file by its row."""

    def read(self, row: int) -> object: ...


@dataclass(frozen=True)
class FileFacts:
    """What a file says of itself."""

    kind: str = ""  # PNG, JPEG and so on
    mode: str = ""  # RGB, L, P and so on
    width: int = 0
    height: int = 0
    size_bytes: int = 0
    camera: str = ""
    day: str = ""  # of EXIF, or in the name


def read_facts(
    reader: Reader, rows: Iterable[int], names: Sequence[str], seconds: float = float("inf")
) -> list[FileFacts]:
    """The facts of the files at `rows`, as many of them as are read in `seconds`.

    Those of arrays are empty.
    """
    found = []
    end = time.perf_counter() + seconds
    for row, name in zip(rows, names, strict=True):
        found.append(_read_one(reader, row, name))
        if time.perf_counter() > end:
            break
    return found


def list_properties(facts: Sequence[FileFacts]) -> dict[str, Sequence[str] | NDArray[np.float64]]:
    """The properties [N] that vary and that most files have, by the name for people."""
    sizes = np.array([[f.width, f.height, f.size_bytes] for f in facts], dtype=np.float64)
    pixels = np.maximum(sizes[:, 0] * sizes[:, 1], 1)
    found: dict[str, Sequence[str] | NDArray[np.float64]] = {
        "file format": [f.kind for f in facts],
        "camera": [f.camera for f in facts],
        "day": [f.day for f in facts],
        "image size": pixels,
        "aspect ratio": np.round(sizes[:, 0] / np.maximum(sizes[:, 1], 1), 2),
        "file size a pixel": np.round(sizes[:, 2] / pixels, 3),
    }
    return {name: values for name, values in found.items() if _is_telling(values)}


def _is_telling(values: Sequence[str] | NDArray[np.float64]) -> bool:
    if len({str(value) for value in values}) < 2:
        return False
    known = sum(bool(value) for value in values) if isinstance(values, list) else len(values)
    return known >= LEAST_KNOWN * len(values) or known >= 20


def _read_one(reader: Reader, row: int, name: str) -> FileFacts:
    try:
        content = reader.read(row)
        if not isinstance(content, bytes):
            return FileFacts()
        with Image.open(io.BytesIO(content)) as image:
            exif = image.getexif()
            maker, model, when = (str(exif.get(tag, "")).strip() for tag in (CAMERA, MODEL, TIME))
            day = when[:10] or next(iter(_DAY.findall(name)), "")
            camera = f"{maker} {model}".strip()
            kind = str(image.format or "")
            return FileFacts(kind, image.mode, *image.size, len(content), camera, day)
    except Exception:  # whatever is wrong with it, decoding said so before
        return FileFacts()
