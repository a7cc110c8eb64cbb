"""Whether an ejected file decodes image files to the pixels that the run trained on."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.image.encoded import ImageError
from torchloupe.deploy.ejection.facts import Facts
from torchloupe.errors import printable
from torchloupe.units import plural

TRIED = 256  # images, evenly over the data


def check_pixels(facts: Facts, code: str) -> list[str]:
    """Decode images with the written file and with the contract of the run; what differs.

    `code` has the imports, the settings and everything about the data.
    """
    space: dict[str, Any] = {"__name__": "ejected"}
    exec(compile(code, "train.py", "exec"), space)  # our own text, as in `check_data`
    decode = space.get("decode")
    if decode is None:
        return []
    rows = np.flatnonzero(facts.parts >= 0)
    count = min(TRIED, len(rows))
    rows = rows[np.arange(count) * len(rows) // max(count, 1)]
    other = [int(row) for row in rows if not _is_alike(facts, decode, int(row))]
    if not other:
        return []
    return [
        f"{len(other):,} of the {plural(count, 'image')} that were tried have other pixels here, "
        f"{printable(facts.data.samples.ids[other[0]], 80)} among them; --data IMAGES.npz stores "
        "those of the run"
    ]


def _is_alike(facts: Facts, decode: Callable[[bytes], NDArray[np.uint8]], row: int) -> bool:
    image = facts.data.reader.read(row)
    if not isinstance(image, bytes):
        return True  # stored arrays are not decoded
    try:
        theirs = facts.contract.decode(image)
    except ImageError:
        return True  # damaged since the run; that the data have changed is said
    try:
        return np.array_equal(decode(image), theirs)
    except Exception:  # Pillow raises nearly every type there is
        return False
