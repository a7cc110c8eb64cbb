"""CIFAR-10, CIFAR-100 and STL-10 in the files of their authors, binary and Python versions.

Formats: https://www.cs.toronto.edu/~kriz/cifar.html, https://cs.stanford.edu/~acoates/stl10. The
downsampled ImageNet (arXiv:1707.08819) has the Python version's files, with images of 8 to 64.
Of the Python versions, which are pickles, arrays and texts are read and no code is run.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.sources.arrays import Part, open_arrays
from torchloupe.data.sources.missing_files import note_missing_batches
from torchloupe.data.sources.plain_pickle import PickleRefused, read_plain_pickle
from torchloupe.data.sources.source import Data, stamp_file
from torchloupe.data.split import TEST, TRAIN, VAL
from torchloupe.errors import DataError, printable
from torchloupe.units import format_bytes

_MOST_BYTES = 2 * 10**9  # of one file; the largest of these sets has 184 MB
_SIDES = (32, 8, 16, 64)
_LABEL_KEYS = ("fine_labels", "labels", "coarse_labels")
_NAME_KEYS = ("fine_label_names", "label_names", "coarse_label_names")


def is_cifar(names: Iterable[str]) -> bool:
    """Whether a folder with files of these names holds one of these sets."""
    files = {name.lower() for name in names}
    return (
        any(re.fullmatch(r"(train_)?data_batch_\d+(\.bin)?", name) for name in files)
        or {"train", "test", "meta"} <= files
        or {"train.bin", "fine_label_names.txt"} <= files
        or {"train_x.bin", "train_y.bin"} <= files
    )


def open_cifar(path: Path, *, layout: str = "auto", class_names: Sequence[str] = ()) -> Data:
    """Data from the folder of one of these sets; DataError if a file isn't what its name says.

    CIFAR-100 gives its 100 fine labels; unlabelled images of STL-10 are left out.
    """
    files = {file.name.lower(): file for file in sorted(path.iterdir()) if file.is_file()}
    notes: tuple[str, ...] = ()
    if "train_x.bin" in files:
        parts = _read_stl(files)
        if "unlabeled_x.bin" in files:
            notes = ("the unlabelled images of STL-10 are not used",)
    elif any(name.endswith(".bin") for name in files):
        parts = _read_binary(files)
    else:
        parts = _read_python(files)
    if "meta" in files or "train.bin" in files:
        notes += ("the fine labels of CIFAR-100 are used, not its coarse ones",)
    try:
        data = open_arrays(
            parts,
            name=path.resolve().name,
            stamp=" ".join(stamp_file(os.fspath(file)) for file in files.values()),
            layout="NCHW" if layout == "auto" else layout,
            class_names=class_names or _read_names(files),
        )
    except DataError as error:
        raise DataError(f"{printable(path)}: {error.message}", error.hint) from None
    return replace(data, notes=(*data.notes, *notes, *note_missing_batches(files)))


def _read_stl(files: Mapping[str, Path]) -> list[Part]:
    parts = []
    for part, word in ((TRAIN, "train"), (TEST, "test")):
        images, labels = files.get(f"{word}_x.bin"), files.get(f"{word}_y.bin")
        if images is None or labels is None:
            if images is not None or part == TRAIN:
                raise DataError(
                    f"{printable(images)} has no labels beside it ({word}_y.bin)",
                    "put both files into the folder",
                )
            continue
        pixels = _read_records(images, 3 * 96 * 96).reshape(-1, 3, 96, 96)
        numbers = _read_records(labels, 1)[:, 0].astype(np.int64)
        if len(numbers) and (numbers.min() < 1 or numbers.max() > 10):
            raise _damaged(labels, "its labels are not 1 to 10")
        # Columns come first in each channel; labels count from 1.
        parts.append(Part(part, pixels.transpose(0, 1, 3, 2), numbers - 1))
    return parts


def _read_binary(files: Mapping[str, Path]) -> list[Part]:
    """CIFAR-10: a label byte before each image; CIFAR-100: a coarse and a fine one."""
    heads = 2 if "train.bin" in files else 1
    found: dict[int, list[NDArray[np.uint8]]] = {}
    for name, file in files.items():
        part = _part_of(name.removesuffix(".bin")) if name.endswith(".bin") else None
        if part is not None:
            found.setdefault(part, []).append(_read_records(file, heads + 3072))
    parts = []
    for part, pieces in sorted(found.items()):
        table = np.concatenate(pieces)
        pixels = table[:, heads:].reshape(-1, 3, 32, 32)
        parts.append(Part(part, pixels, table[:, heads - 1].astype(np.int64)))
    return parts


def _read_python(files: Mapping[str, Path]) -> list[Part]:
    found: dict[int, list[tuple[NDArray[Any], NDArray[Any]]]] = {}
    for name, file in files.items():
        part = _part_of(name)
        if part is not None:
            found.setdefault(part, []).append(_read_batch(file))
    return [
        Part(
            part,
            np.concatenate([pixels for pixels, _ in pieces]),
            np.concatenate([labels for _, labels in pieces]),
        )
        for part, pieces in sorted(found.items())
    ]


def _read_batch(file: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    content = _unpickle(file)
    pixels = content.get("data")
    labels = next((content[key] for key in _LABEL_KEYS if key in content), None)
    side = 0
    if isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 2:
        side = next((k for k in _SIDES if pixels.shape[1] == 3 * k * k), 0)
    if not side or labels is None:
        raise _damaged(file, "it lacks data [N, 3072] or labels")
    return np.asarray(pixels).reshape(-1, 3, side, side), np.asarray(labels)


def _read_names(files: Mapping[str, Path]) -> list[str]:
    """Class names, where the set comes with them."""
    for name in ("fine_label_names.txt", "batches.meta.txt", "class_names.txt"):
        if name in files:
            text = files[name].read_text(encoding="utf-8", errors="replace")
            return [line.strip() for line in text.splitlines() if line.strip()]
    for name in ("batches.meta", "meta"):
        if name in files:
            content = _unpickle(files[name])
            listed: Any = next((content[key] for key in _NAME_KEYS if key in content), [])
            return [
                v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in listed
            ]
    return []


def _unpickle(file: Path) -> dict[str, Any]:
    """A dict of plain arrays, lists and texts; its keys as text."""
    _refuse_large(file)
    try:
        with file.open("rb") as stream:
            content = read_plain_pickle(stream)
    except PickleRefused as error:
        raise _damaged(file, str(error)) from None
    except OSError as error:
        raise _damaged(file, error.strerror or str(error)) from None
    if not isinstance(content, dict):
        raise _damaged(file, "it holds no dict")
    return {
        key.decode("latin-1") if isinstance(key, bytes) else str(key): value
        for key, value in content.items()
    }


def _read_records(file: Path, size: int) -> NDArray[np.uint8]:
    """The records of `size` bytes in a file, as rows."""
    _refuse_large(file, 100 * 10**9)
    try:
        values: NDArray[np.uint8] = np.fromfile(file, dtype=np.uint8)
    except OSError as error:
        raise _damaged(file, error.strerror or str(error)) from None
    if not len(values) or len(values) % size:
        raise _damaged(file, f"{len(values):,} bytes are not whole records of {size:,}")
    return values.reshape(-1, size)


def _refuse_large(file: Path, most_bytes: int = _MOST_BYTES) -> None:
    if file.stat().st_size > most_bytes:
        raise _damaged(file, f"{format_bytes(file.stat().st_size)} are too many for its name")


def _part_of(name: str) -> int | None:
    if name in ("train", "train_x") or re.fullmatch(r"(train_)?data_batch_\d+", name):
        return TRAIN
    if name == "val_data":
        return VAL
    return TEST if name in ("test", "test_batch") else None


def _damaged(file: Path, reason: str) -> DataError:
    return DataError(
        f"{printable(file)} can't be read as a file of CIFAR or STL-10: {printable(reason)}",
        "fetch the set again",
    )
