"""The pair (image, label) that an item of a data set is, in every form that is common.

A tuple of two, or a dict with the usual keys; of one sample or of a whole batch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchloupe.data.sources.source import name_some
from torchloupe.errors import DataError, LoupeError, printable

IMAGE_KEYS = ("image", "images", "img", "imgs", "pixel_values", "pixels", "input", "inputs", "x")
MORE_IMAGE_KEYS = ("feature", "features", "data")  # where there is none of these
LABEL_KEYS = ("label", "labels", "target", "targets", "class", "class_id", "category", "y")


def take_pair(item: Any) -> tuple[Any, Any] | None:
    """(image, label) of an item, or images and labels of a batch; None for anything else."""
    if isinstance(item, Mapping):
        image, label = find_image_key(item), find_label_key(item)
        return None if image is None or label is None else (item[image], take_label(item[label]))
    if not isinstance(item, (tuple, list)):
        return None
    if len(item) == 2 or (len(item) > 2 and _is_labelled(item[0], item[1])):
        return item[0], take_label(item[1])
    return None


def take_label(label: Any) -> Any:
    """The label within a dict of several things: under a usual key, or its only one."""
    while isinstance(label, Mapping) and label:
        key = find_label_key(label)
        if key is None and len(label) == 1:
            key = next(iter(label))
        if key is None:
            break
        label = label[key]
    return label


def note_more(item: Any) -> tuple[str, ...]:
    """A note on an item that holds more than an image and its label."""
    if not isinstance(item, (tuple, list)) or len(item) < 3:
        return ()
    return (
        f"items hold {len(item)} values: the first is taken as the image, the second as its label, "
        "and the rest is not used",
    )


def _is_labelled(image: Any, label: Any) -> bool:
    """Whether the first two of several values are surely an image and a number or text for it, or
    a batch of images and one for each.
    """
    axes = getattr(image, "ndim", 0)
    if axes == 4:
        return hasattr(label, "__len__") and len(label) == len(image) and np.ndim(label) == 1
    is_image = isinstance(image, Image.Image) or axes in (2, 3)
    return is_image and (isinstance(label, str) or np.ndim(label) == 0) and label is not None


def is_batch(images: Any, labels: Any) -> bool:
    """Whether these are images and labels of a whole batch, and not of one sample."""
    if getattr(images, "ndim", 0) == 4:
        return True
    is_list = isinstance(images, (list, tuple)) and len(images) > 0
    if is_list and hasattr(labels, "__len__") and len(labels) == len(images):
        return isinstance(images[0], Image.Image) or getattr(images[0], "ndim", 0) in (2, 3)
    return False


def is_array_batch(images: Any, labels: Any) -> bool:
    """Whether these are an array of several images [B, ...] and a label for each of them."""
    is_one = getattr(images, "ndim", 0) == 4 and hasattr(labels, "__len__")
    return is_one and np.ndim(labels) in (1, 2) and len(labels) == len(images)


def find_key(names: Any, usual: Sequence[str]) -> Any:
    """The one of `names` that is among the usual ones; None if none or several are."""
    found = [name for name in names if str(name).lower() in usual]
    return found[0] if len(found) == 1 else None


def find_image_key(names: Any) -> Any:
    """The name of the image: a usual one, else one of MORE_IMAGE_KEYS; None if unclear."""
    if any(str(name).lower() in IMAGE_KEYS for name in names):
        return find_key(names, IMAGE_KEYS)
    return find_key(names, MORE_IMAGE_KEYS)


def find_label_key(names: Any) -> Any:
    """The name of the labels: a usual one, else the only one that ends in "label"."""
    if any(str(name).lower() in LABEL_KEYS for name in names):
        return find_key(names, LABEL_KEYS)
    found = [name for name in names if str(name).lower().endswith(("label", "labels"))]
    return found[0] if len(found) == 1 else None


def _name_one_label(item: Any) -> str:
    """What to do about an item with several columns of labels; empty for any other."""
    names = list(item) if isinstance(item, Mapping) else []
    found = [name for name in names if str(name).lower().endswith(("label", "labels"))]
    if len(found) < 2 or find_image_key(names) is None:
        return ""
    finest = min(found, key=lambda name: not str(name).lower().startswith("fine"))
    return (
        f"call the wanted one label: dataset.rename_column({printable(finest, 60)!r}, 'label') "
        "of a Hugging Face dataset, or let __getitem__ return image, label"
    )


def describe_item(item: Any) -> str:
    """What an item is, for an error: `a tuple of 3`, `a dict with 'a', 'b'`."""
    if isinstance(item, (tuple, list)):
        return f"a {type(item).__name__} of {len(item)}"
    if isinstance(item, Mapping):
        return f"a {printable(type(item).__name__)} with {name_some(item)}"
    return f"a {printable(type(item).__name__)}"


def read_row(dataset: Any, row: int) -> Any:
    """The item of a row; DataError with the row and the error where the dataset fails."""
    try:
        return dataset[row]
    except LoupeError:
        raise
    except Exception as error:
        raise DataError(
            f"row {row} can't be read: {type(error).__name__}: {printable(error)}",
            f"dataset[{row}] fails by itself too: fix it there",
        ) from error


def read_item(dataset: Any, row: int) -> tuple[Any, Any]:
    """(image, label) of a row; DataError for anything else, with the row and what it is."""
    return to_pair(read_row(dataset, row), row)


def to_pair(item: Any, row: int) -> tuple[Any, Any]:
    """(image, label) of an item that was read from a row, as `read_item` gives it."""
    pair = take_pair(item)
    if pair is None:
        raise DataError(
            f"row {row} is {describe_item(item)}; wanted a pair (image, label)",
            _name_one_label(item)
            or "let __getitem__ return image, label, or a dict with the keys image and label",
        )
    if is_array_batch(*pair):
        raise DataError(
            f"row {row} is a batch: images of shape {list(pair[0].shape)} and "
            f"{len(pair[1])} labels",
            "let __getitem__ return one image and its label, or give a DataLoader of the dataset "
            "with batch_size=None",
        )
    return pair


def to_pixels(image: Any) -> NDArray[Any]:
    """Pixels [H, W, C] uint8 or float32 from a PIL image, a tensor [C, H, W] or an array."""
    if isinstance(image, Image.Image):
        plain = {"1": "L", "P": "RGBA" if "transparency" in image.info else "RGB", "LA": "RGBA"}
        if image.mode not in ("L", "RGB", "RGBA"):
            image = image.convert(plain.get(image.mode, "RGB"))
        return np.atleast_3d(np.asarray(image))
    is_tensor = hasattr(image, "detach")
    if is_tensor:
        image = image.detach().cpu()
        image = image.float() if str(image.dtype) == "torch.bfloat16" else image  # numpy has none
    try:
        pixels = np.asarray(image)
    except (ValueError, TypeError, RuntimeError):  # tensors of several shapes, or with numbers
        raise DataError(
            f"an image is {describe_item(image)}, and a model takes one tensor",
            "let __getitem__ return image, label: what else the model needs may be channels of it",
        ) from None
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    elif pixels.ndim == 3:
        first, last = pixels.shape[0] in (1, 3, 4), pixels.shape[2] in (1, 3, 4)
        if (is_tensor and (first or not last)) or (first and not last):
            pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim != 3 or 0 in pixels.shape or pixels.dtype.kind not in "biuf":
        raise DataError(
            f"an image of shape {list(pixels.shape)} and type {pixels.dtype} is not an image",
            "let the dataset give PIL images, tensors [C, H, W] or arrays [H, W, C]",
        )
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind in "iu" and pixels.min() >= 0 and pixels.max() <= 255:
        return pixels.astype(np.uint8, copy=False)
    return pixels.astype(np.float32, copy=False)
