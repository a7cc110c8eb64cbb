"""Images that can't be read: counted by kind, listed in a file, and too many of them."""

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from torchloupe.data.pack.decoding import BadImage
from torchloupe.errors import DataError, printable
from torchloupe.system import files
from torchloupe.units import plural

_SHOWN = 5


class UnreadableError(DataError):
    """More images than allowed can't be read; `bad` are all of them."""

    def __init__(self, bad: Sequence[BadImage], total: int, bad_fraction: float) -> None:
        count = len(bad)
        listed = "; ".join(f"{printable(image.id)}: {image.reason}" for image in bad[:_SHOWN])
        more = f"; and {count - _SHOWN:,} more" if count > _SHOWN else ""
        super().__init__(
            f"{plural(count, 'image')} of {total:,} can't be read, more than "
            f"{bad_fraction:.1%} ({count_kinds(bad)}): {listed}{more}",
            "repair or remove them, or allow more with "
            f"--set data.bad_fraction={math.ceil(100 * count / total) / 100:g}",
        )
        self.bad = tuple(bad)

    def listed_in(self, path: Path) -> "UnreadableError":
        """This error, saying that all of the images are listed in the file `path`."""
        self.hint = f"{printable(path)} lists them; {self.hint}"
        return self


def count_kinds(bad: Sequence[BadImage]) -> str:
    """How many images of each kind, most first: `3 truncated, 1 empty`."""
    counts = Counter(image.kind for image in bad)
    return ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())


def write_set_aside(path: Path, bad: Sequence[BadImage]) -> None:
    """Write path, reason and kind of each image as CSV; with none, no file is left."""
    if not bad:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("path", "reason", "kind"))
    rows.writerows((image.id, image.reason, image.kind) for image in bad)
    files.replace_file(path, text.getvalue().encode("utf-8", "surrogateescape"))
