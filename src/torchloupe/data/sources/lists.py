"""Images in a list with labels beside it: arrays, tensors, PIL images, encoded bytes or paths.

Arrays of one shape become one array; all else is read one by one.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchloupe.data.image.formats import IMAGE_SUFFIXES, MAX_BYTES, ImageError
from torchloupe.data.samples import Samples, make_ids
from torchloupe.data.sources.arrays import (
    Part,
    ReadLabels,
    as_array,
    join_labels,
    open_arrays,
    read_part_labels,
)
from torchloupe.data.sources.labels import compare_splits
from torchloupe.data.sources.pairs import is_array_batch, take_pair, to_pixels
from torchloupe.data.sources.source import (
    Data,
    make_stamp,
    name_some,
    read_file,
    short_name,
    stamp_file,
)
from torchloupe.data.split import SPLIT_NAMES, TRAIN
from torchloupe.errors import DataError
from torchloupe.units import format_bytes, plural

_STAMPED = 1000  # images in memory whose pixels make the stamp, at most


class ListReader:
    """Images of a list, each of its own kind and size."""

    def __init__(self, images: Sequence[Any]) -> None:
        self._images = images

    def read(self, row: int) -> bytes | NDArray[Any]:
        """The bytes of a file, or the pixels [H, W, C] of what is in memory."""
        image = self._images[row]
        if isinstance(image, Mapping):  # Hugging Face's form of an image
            image = image.get("bytes") or image.get("path")
        if isinstance(image, (str, PurePath)):
            return read_file(os.fspath(image))
        if isinstance(image, (bytes, bytearray, memoryview)):
            if len(image) > MAX_BYTES:
                raise ImageError(f"{format_bytes(len(image))} is too large for an image")
            return bytes(image)
        return to_pixels(image)


def is_image(value: Any) -> bool:
    """Whether this is one image: pixels, a PIL image, or the path or bytes of an image file."""
    if isinstance(value, Mapping):
        return isinstance(value.get("bytes"), bytes) or is_image(value.get("path"))
    if isinstance(value, (str, PurePath)):
        return os.path.splitext(os.fspath(value))[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122
    if isinstance(value, (Image.Image, bytes)):
        return True
    return hasattr(value, "dtype") and getattr(value, "ndim", 0) in (2, 3)


def is_image_list(value: Any) -> bool:
    """Whether this is a list or tuple of images."""
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(map(is_image, value))


def is_labelled_list(value: Any) -> bool:
    """Whether this is (list of images, their labels)."""
    if not isinstance(value, (tuple, list)) or len(value) != 2 or not is_image_list(value[0]):
        return False
    labels = value[1]
    if not hasattr(labels, "__len__") or isinstance(labels, (str, bytes, Mapping)):
        return False
    return len(labels) == len(value[0]) and all(np.ndim(label) <= 1 for label in labels[:1])


def is_list_of_pairs(value: Any) -> bool:
    """Whether this is a list of (path, label), or of (image, label) with labels that are text."""
    if not isinstance(value, (list, tuple)) or not value:
        return False
    return all(
        isinstance(pair, (tuple, list))
        and len(pair) == 2
        and is_image(pair[0])
        and (isinstance(pair[1], str) or isinstance(pair[0], (str, PurePath)))
        and not is_image(pair[1])
        for pair in value
    )


def read_rows_of_paths(value: Any) -> tuple[list[Any], list[Any]] | None:
    """Images and labels of a list of dicts with the path of an image each; None for all else."""
    if not isinstance(value, (list, tuple)) or not value:
        return None
    pairs = [take_pair(item) for item in value if isinstance(item, Mapping)]
    found = [p for p in pairs if p and isinstance(p[0], (str, PurePath)) and is_image(p[0])]
    if len(found) < len(value):
        return None
    return [image for image, _ in found], [label for _, label in found]


def join_batches(value: Any) -> tuple[Any, Any] | None:
    """Images and labels of a list of batches, each (images [B, ...], labels [B] or [B, K]).

    Images of one shape become one array. None for anything else, such as a list of samples.
    """
    if not isinstance(value, (list, tuple)) or not value:
        return None
    pairs = [take_pair(item) for item in value]
    batches = [pair for pair in pairs if pair is not None and is_array_batch(*pair)]
    if len(batches) < len(value):
        return None
    images = [as_array(pair[0]) for pair in batches]
    labels = join_labels([as_array(pair[1]) for pair in batches])
    if len({array.shape[1:] for array in images}) == 1:
        return np.concatenate(images), labels
    return [image for array in images for image in array], labels


def open_lists(
    parts: Sequence[Part],
    *,
    name: str,
    layout: str = "auto",
    class_names: Sequence[str] = (),
    read: ReadLabels | None = None,
) -> Data:
    """Data from lists of images with their labels: one part, or one part a split.

    Paths are relative to the current folder. DataError if most of them lead nowhere. `read` are
    the labels of all parts where they are read already.
    """
    images = [image for part in parts for image in part.images]
    if all(isinstance(image, np.ndarray) or hasattr(image, "detach") for image in images):
        shapes = {(tuple(image.shape), str(image.dtype)) for image in images}
        if len(shapes) == 1:
            stacked = [
                Part(part.part, np.stack([as_array(image) for image in part.images]), part.labels)
                for part in parts
            ]
            return open_arrays(
                stacked, name=name, layout=layout, class_names=class_names, read=read
            )
    if layout != "auto":
        raise DataError(
            f"data.layout={layout} is for arrays of one shape, and the list has others",
            "leave layout out",
        )
    labels, names, notes = read or read_part_labels(parts, class_names)
    counts = [len(part.images) for part in parts]
    given = np.repeat([part.part for part in parts], counts).astype(np.int8)
    is_given = bool((given != TRAIN).any())
    if is_given:
        notes += compare_splits(labels, given, names)
    return Data(
        name=short_name(name),
        kind="table",
        samples=Samples(_name_images(parts), labels, names),
        given=given if is_given else None,
        reader=ListReader(images),
        notes=notes + _missing(images),
        stamp=_stamp(images, labels),
    )


def _name_images(parts: Sequence[Part]) -> NDArray[Any]:
    """Ids: paths where images are files (again: with #2), else numbers within their split."""
    seen: Counter[str] = Counter()
    ids = []
    for part in parts:
        prefix = f"{SPLIT_NAMES[part.part]}/" if len(parts) > 1 else ""
        for number, image in enumerate(part.images):
            is_path = isinstance(image, (str, PurePath))
            text = os.fspath(image) if is_path else f"{prefix}{number}"
            text = text.encode("utf-8", "replace").decode()
            seen[text] += 1
            ids.append(text if seen[text] == 1 else f"{text}#{seen[text]}")
    return make_ids(ids)


def _missing(images: Sequence[Any]) -> tuple[str, ...]:
    """A note on files that are not there; DataError if most are: then it is the paths."""
    paths = [os.fspath(image) for image in images if isinstance(image, (str, PurePath))]
    missing = [path for path in paths if not os.path.isfile(path)]  # noqa: PTH113
    if not missing:
        return ()
    text = (
        f"{plural(len(missing), 'file')} of {len(paths):,} can't be found: {name_some(missing, 3)}"
    )
    if len(missing) * 2 > len(paths):
        raise DataError(text, "paths are relative to the current folder")
    return (text,)


def _stamp(images: Sequence[Any], labels: NDArray[Any]) -> str:
    """A stamp of the files' sizes and times, and of the pixels of some of those in memory."""
    parts: list[Any] = [str(len(images)), labels]
    step = max(1, len(images) // _STAMPED)
    reader = ListReader(images)
    for row, image in enumerate(images):
        try:
            if isinstance(image, (str, PurePath)):
                parts.append(f"{os.fspath(image)} {stamp_file(os.fspath(image))}")
            elif row % step == 0:
                pixels = reader.read(row)
                parts.append(
                    np.frombuffer(pixels, np.uint8) if isinstance(pixels, bytes) else pixels
                )
        except (OSError, DataError):
            parts.append("none")
    return make_stamp(*parts)
