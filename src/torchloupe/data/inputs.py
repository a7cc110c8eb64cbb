"""The inputs of a prediction: files, folders, pictures, arrays, batches, datasets, loaders.

They are split into single images here; the contract of the run decodes these.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset

from torchloupe.data.contract import Contract
from torchloupe.data.image.formats import names_an_image
from torchloupe.data.sources.pairs import read_row, to_pixels
from torchloupe.data.sources.source import Data
from torchloupe.errors import DataError, UsageError, did_you_mean, printable

Named = tuple[str, Any]  # the name of an image; its path, its bytes or an array of pixels

IMAGE_KEYS = ("image", "images", "img", "pixel_values", "x", "inputs")  # of items that are dicts
LONGEST_NAME = 24  # bytes of a class name; no image file is as short
_WANTED = "give paths, a folder, PIL images, arrays or tensors of pixels, a Dataset or a DataLoader"


def list_images(source: Any, contract: Contract) -> Iterator[Named]:
    """(name, image) of each image in `source`, in order.

    `source` is a path, a folder, bytes, a PIL image, an array or tensor of one image or of a
    batch, a Dataset, a DataLoader, what `open_data` returns, or a list or iterator of these. Labels
    are ignored. Raises DataError for a path that does not exist, UsageError for anything that is
    not an image.
    """
    numbers = count()

    def numbered(image: Any) -> Named:
        return f"image {next(numbers)}", image

    for found in _open(source, contract):
        yield found if isinstance(found, tuple) else numbered(found)


def is_one_image(source: Any, contract: Contract) -> bool:
    """Whether `source` is a single image, not a folder, batch, list or dataset."""
    if _is_labelled(source):
        return is_one_image(source[0], contract)
    if isinstance(source, (str, Path)):
        return not Path(source).is_dir()
    if isinstance(source, Mapping):
        return is_one_image(_from_mapping(source), contract)
    if _is_array(source):
        return not _is_batch(source, contract)
    return isinstance(source, (bytes, bytearray, Image.Image))


def _open(source: Any, contract: Contract) -> Iterator[Any]:
    """(name, image) where the image has a name, else only the image."""
    if _is_labelled(source):
        yield from _open(source[0], contract)
    elif isinstance(source, (str, Path)):
        yield from _list_path(Path(source))
    elif isinstance(source, (bytes, bytearray)):
        yield bytes(source)
    elif isinstance(source, Image.Image):
        yield to_pixels(source)
    elif isinstance(source, Mapping):
        yield from _open(_from_mapping(source), contract)
    elif _is_array(source):
        yield from _list_array(source, contract)
    elif isinstance(source, Data):
        yield from _list_data(source)
    elif isinstance(source, (list, tuple)):
        _refuse_missing(source)
        for item in source:
            yield from _open(item, contract)
    elif isinstance(source, (DataLoader, IterableDataset)) or hasattr(source, "__next__"):
        for item in source:
            yield from _open(item, contract)
    elif hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        for row in range(len(source)):
            yield from _open(read_row(source, row), contract)
    else:
        raise UsageError(f"{printable(type(source).__name__)} is no image", _WANTED)


def _is_array(source: Any) -> bool:
    return isinstance(source, (np.ndarray, torch.Tensor))


def _is_labelled(source: Any) -> bool:
    """Whether this is (images, labels) or (image, label), as datasets and loaders give them."""
    if not isinstance(source, (tuple, list)) or len(source) < 2:
        return False
    image, label, *more = source
    is_batch = _is_array(image) and image.ndim == 4
    is_tuple = isinstance(source, tuple)
    is_path = is_tuple and isinstance(image, (str, Path)) and Path(image).is_file()
    if not is_path and not _is_array(image) and not isinstance(image, Image.Image):
        return False
    is_label = _is_label(label, batch=is_batch)
    if not is_batch and not is_label:
        is_label = _is_text_label(label, is_tuple=is_tuple)
    return is_label and all(
        isinstance(value, str) or _is_label(value, batch=is_batch) for value in more
    )


def _is_text_label(value: Any, *, is_tuple: bool) -> bool:
    """Whether the second of a pair is a class name, or several, and not another image."""
    if isinstance(value, (list, tuple)):
        return is_tuple and all(isinstance(each, (int, float, str)) for each in value)
    if isinstance(value, bytes):
        return is_tuple and len(value) <= LONGEST_NAME
    if not isinstance(value, str) or Path(value).is_file():
        return False
    return not names_an_image(value)


def _is_label(value: Any, *, batch: bool) -> bool:
    if _is_array(value):
        return bool(value.ndim <= 1 + batch)
    if isinstance(value, (list, tuple)):
        return batch and all(isinstance(label, (int, float, str)) for label in value)
    return value is None or isinstance(value, (int, float, np.number))


def _from_mapping(item: Mapping[Any, Any]) -> Any:
    """The image or images of an item or batch that is a dict."""
    found = [key for key in item if str(key).lower() in IMAGE_KEYS]
    if len(found) != 1:
        keys = ", ".join(printable(key, 40) for key in list(item)[:5])
        raise UsageError(
            f"a dict with the keys {keys or '(none)'} has "
            + ("no image" if not found else "several images"),
            f"name the image one of {', '.join(IMAGE_KEYS)}",
        )
    return item[found[0]]


def _is_batch(array: Any, contract: Contract) -> bool:
    """Whether an array is a batch; UsageError if that is ambiguous or it is not an image."""
    shape = list(array.shape)
    height, width = contract.size
    known = {1, 3, 4, contract.channels}
    if len(shape) == 2:
        if shape != [height, width] and shape[1] == height * width * contract.channels:
            example = f"{height}, {width}" + f", {contract.channels}" * (contract.channels > 1)
            raise UsageError(
                f"an array of shape {shape} is one flat row of pixels an image",
                f"use images.reshape(-1, {example})",
            )
        return False
    if len(shape) == 4:
        return True
    if len(shape) != 3:
        raise UsageError(
            f"an array of shape {shape} is neither an image nor a batch of images", _WANTED
        )
    is_image = shape[0] in known or shape[2] in known
    if is_image and shape[0] > 1 and contract.channels == 1 and shape[1:] == [height, width]:
        raise UsageError(
            f"an array of shape {shape} is one image of {shape[0]} channels or "
            f"{shape[0]} grey images",
            "use images[None] for one image, images[:, None] for grey images",
        )
    return not is_image


def _list_array(array: Any, contract: Contract) -> Iterator[Any]:
    images = array if _is_batch(array, contract) else [array]
    for image in images:
        if not isinstance(image, torch.Tensor):
            yield image
        else:
            yield to_pixels(image.float() if image.dtype == torch.bfloat16 else image)


def _list_data(data: Data) -> Iterator[Named]:
    if data.kind == "stream":
        raise UsageError(
            "a stream that was opened has no rows to predict", "give its DataLoader instead"
        )
    for row, name in enumerate(data.samples.ids):
        try:
            yield str(name), data.reader.read(row)
        except DataError as error:
            yield str(name), error


def _list_path(path: Path) -> Iterator[Named]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
            if not hidden and file.is_file() and names_an_image(str(file)):
                yield str(file), file
        return
    _refuse_missing([path])
    yield str(path), path


def _refuse_missing(items: Sequence[Any]) -> None:
    """DataError for the first path in `items` that does not exist."""
    for item in items:
        if isinstance(item, (str, Path)) and not Path(item).exists():
            path = Path(item)
            raise DataError(f"there is no file {printable(path)}", _nearest(path))


def _nearest(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f"the folder {printable(path.parent)} is not there either"
    return did_you_mean(path.name, names, otherwise="check the spelling")
