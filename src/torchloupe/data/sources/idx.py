"""IDX files, the format of MNIST and its kin, plain or gzipped.

Format: http://yann.lecun.com/exdb/mnist - two zero bytes, a type byte, the number of axes, each
axis as a big-endian 32-bit number, then the values.
"""

import gzip
import os
import re
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.sources.arrays import Part, open_arrays
from torchloupe.data.sources.source import SPLIT_WORDS, Data, name_some, stamp_file
from torchloupe.data.split import TRAIN
from torchloupe.errors import DataError, printable

# Names of the classes of sets whose files carry numbers only; taken when the folder is called so.
KNOWN_CLASSES = {
    "fashionmnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
}

_NAME = re.compile(
    r"(?P<set>.*?)(?P<part>train|training|t10k|test|val|valid|validation)?[-_.]?"
    r"(?P<role>images?|labels?)[-_.]idx\d[-_.]ubyte(?P<gz>\.gz)?",
    re.IGNORECASE,
)
_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_LARGEST_RATIO = 1032  # deflate can't grow more than this; a header that claims more lies
_PIECE = 16 * 2**20


def is_idx_name(name: str) -> bool:
    """Whether a file is called like `train-images-idx3-ubyte.gz`."""
    return _NAME.fullmatch(name) is not None


def open_idx(path: Path, *, layout: str = "auto", class_names: Sequence[str] = ()) -> Data:
    """Data from a folder of IDX files, or from one file of images and its labels."""
    folder = path if path.is_dir() else path.parent
    only = None if path.is_dir() else _NAME.fullmatch(path.name)
    files: dict[tuple[str, str], dict[str, Path]] = {}
    for file in sorted(folder.iterdir(), reverse=True):  # the plain one of a pair comes last
        match = _NAME.fullmatch(file.name)
        if match and file.is_file():
            key = (match["set"].lower().strip("-_."), (match["part"] or "").lower())
            if only is None or key == (
                only["set"].lower().strip("-_."),
                (only["part"] or "").lower(),
            ):
                files.setdefault(key, {})[match["role"].lower()[:5]] = file
    if len({name for name, _ in files}) > 1:
        raise DataError(
            f"{printable(path)} holds several sets: {name_some(sorted({n for n, _ in files}))}",
            "give the path of one file of images, or keep each set in a folder of its own",
        )
    parts, stamps = [], []
    words = SPLIT_WORDS | {"t10k": SPLIT_WORDS["test"]}
    for (_, part), roles in sorted(files.items(), key=lambda item: words.get(item[0][1], TRAIN)):
        if len(roles) < 2:
            raise DataError(
                f"{printable(path)} has {name_some(p.name for p in roles.values())} "
                f"and not the {'labels' if 'image' in roles else 'images'} that go with it",
                "put both files into the folder",
            )
        parts.append(
            Part(words.get(part, TRAIN), read_idx(roles["image"]), read_idx(roles["label"]))
        )
        stamps += [stamp_file(os.fspath(file)) for file in roles.values()]
    places = [folder.resolve(), folder.absolute()]
    try:
        return open_arrays(
            parts,
            name=_set_name(places[0]),
            stamp=" ".join(stamps),
            layout=layout,
            class_names=class_names or _known_classes(places, parts),
        )
    except DataError as error:
        raise DataError(f"{printable(path)}: {error.message}", error.hint) from None


def read_idx(path: Path) -> NDArray[Any]:
    """The array in one IDX file; DataError if its size is not what its header says."""
    shown = printable(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not zipped:
                return _read(raw, size, shown)
            with gzip.open(raw, "rb") as file:
                return _read(file, size * _LARGEST_RATIO, shown)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{shown} can't be read: {printable(error)}", "fetch the file again"
        ) from None


def _read(file: IO[bytes] | gzip.GzipFile, most_bytes: int, shown: str) -> NDArray[Any]:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES or not head[3]:
        raise DataError(f"{shown} is not an IDX file", "fetch the file again")
    axes = file.read(4 * head[3])
    shape = [int.from_bytes(axes[k : k + 4], "big") for k in range(0, len(axes), 4)]
    kind = np.dtype(_TYPES[head[2]])
    wanted = prod(shape) * kind.itemsize
    if len(shape) < head[3] or wanted > most_bytes:
        raise DataError(
            f"{shown} is cut short: its header says {' x '.join(map(str, shape))} values",
            "fetch the file again",
        )
    values = np.empty(shape, kind)
    view = values.reshape(-1).view(np.uint8).data
    done = 0
    while done < wanted and (got := file.readinto(view[done : done + _PIECE])):  # type: ignore[union-attr]
        done += got
    if done < wanted or file.read(1):
        raise DataError(
            f"{shown} holds {'less' if done < wanted else 'more'} than its header says "
            f"({' x '.join(map(str, shape))} values)",
            "fetch the file again",
        )
    return values.astype(kind.newbyteorder("="), copy=False)


def _set_name(folder: Path) -> str:
    """The name of the set: torchvision keeps its files in FashionMNIST/raw."""
    return folder.parent.name if folder.name.lower() == "raw" else folder.name


def _known_classes(places: Sequence[Path], parts: Sequence[Part]) -> Sequence[str]:
    """The class names of a well-known set: its folder bears the name and labels are 0 to 9."""
    for place in places:
        name = re.sub(r"[^a-z0-9]", "", _set_name(place).lower())
        for known, classes in KNOWN_CLASSES.items():
            wanted = np.arange(len(classes))
            if name.endswith(known) and all(
                np.array_equal(np.unique(part.labels), wanted) for part in parts
            ):
                return classes
    return ()
