"""Images that are arrays: their layout told apart, their values kept.

Which array is what, and how it is read from a file, is for archives and idx.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.samples import Samples, make_ids
from torchloupe.data.sources.array_shapes import as_nhwc
from torchloupe.data.sources.label_sets import holds_lists, label_sets, read_sets
from torchloupe.data.sources.labels import Labels, compare_splits, read_labels
from torchloupe.data.sources.source import ArrayReader, Data, make_stamp, short_name
from torchloupe.data.split import SPLIT_NAMES, TRAIN
from torchloupe.errors import DataError, UsageError, did_you_mean, printable

LAYOUTS = ("auto", "NHW", "NHWC", "NCHW")
_OTHER_SCALE = 16  # times the standard deviation of another split's pixels
_LOOKED_AT = 200  # images of a split, for that

ReadLabels = tuple[Labels, tuple[str, ...], tuple[str, ...]]  # labels, class names and notes


@dataclass(frozen=True, eq=False)
class Part:
    """Images and labels of one split, as they were found."""

    part: int  # TRAIN, VAL or TEST
    images: Any
    labels: Any


def open_arrays(
    parts: Sequence[Part],
    *,
    name: str,
    stamp: str = "",
    layout: str = "auto",
    class_names: Sequence[str] = (),
    read: ReadLabels | None = None,
) -> Data:
    """Data from arrays in memory or mapped: one part without splits, or one part a split.

    `read` are the labels of all parts where they are read already; those of the parts count the
    images only.

    Images are [N, H, W], [N, H, W, C] or [N, C, H, W]. uint8 stays as it is, booleans become
    0 and 255, whole numbers within 0..255 become uint8, all else float32 with its values kept.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"layout {printable(layout)!r}", did_you_mean(layout, LAYOUTS))
    named = len(parts) > 1
    arrays = [_read_part(part, layout, SPLIT_NAMES[part.part] if named else "") for part in parts]
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        listed = ", ".join(
            f"{SPLIT_NAMES[part.part]} {'x'.join(map(str, array.shape[1:]))}"
            for part, array in zip(parts, arrays, strict=True)
        )
        raise DataError(
            f"the splits hold images of different shapes: {listed} (height x width x channels)",
            "bring all splits to one shape",
        )
    _refuse_other_scales(parts, arrays)
    images = arrays[0] if len(arrays) == 1 else _join(arrays)
    labels, names, notes = read or read_part_labels(parts, class_names)
    given = np.repeat([part.part for part in parts], [len(array) for array in arrays])
    given = given.astype(np.int8)
    is_given = named and bool((given != TRAIN).any())
    if is_given:
        notes += compare_splits(labels, given, names)
    ids = make_ids(
        [
            f"{SPLIT_NAMES[p.part]}/{k}"
            for p, a in zip(parts, arrays, strict=True)
            for k in range(len(a))
        ]
        if named
        else range(len(images))
    )
    return Data(
        name=short_name(name),
        kind="arrays",
        samples=Samples(ids, labels, names),
        given=given if is_given else None,
        reader=ArrayReader(images),
        notes=notes,
        stamp=make_stamp(stamp or _sample_stamp(images), str(images.shape), labels),
    )


def _read_part(part: Part, layout: str, where: str) -> NDArray[Any]:
    try:
        images = _as_pixels(as_array(part.images), layout)
        is_list = isinstance(part.labels, (list, tuple))
        counts = (len(images), len(part.labels if is_list else as_array(part.labels)))
    except DataError as error:
        message = f"{where}: {error.message}" if where else error.message
        raise DataError(message, error.hint) from None
    if counts[0] != counts[1]:
        raise DataError(
            f"there are {counts[0]:,} images and {counts[1]:,} labels"
            + (f" for {where}" if where else ""),
            "give one label for every image",
        )
    return images


def read_part_labels(
    parts: Sequence[Part], class_names: Sequence[str]
) -> tuple[Labels, tuple[str, ...], tuple[str, ...]]:
    """Labels of all parts, class names and notes, as `read_labels` gives them; lists of labels of
    an image are several labels.
    """
    if any(holds_lists(part.labels) for part in parts):
        rows = [row for part in parts for row in part.labels]
        if (sets := read_sets(rows, is_sure=bool(class_names))) is not None:
            return label_sets(sets, class_names)
    return read_labels(join_labels([as_array(part.labels) for part in parts]), class_names)


def as_array(value: Any) -> NDArray[Any]:
    """A numpy array from an array, a tensor (on any device) or a list."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    try:
        return value if isinstance(value, np.ndarray) else np.asarray(value)
    except ValueError as error:
        raise DataError(f"not an array: {printable(error)}", "give images of one shape") from None


def _as_pixels(images: NDArray[Any], layout: str) -> NDArray[Any]:
    """Images as [N, H, W, C] uint8 or float32; a view where nothing has to change."""
    images = as_nhwc(images, layout)
    if 0 in images.shape:
        raise DataError(f"images have shape {list(images.shape)}: there are none", "give images")
    kind = images.dtype.kind
    if kind == "b":
        return images.astype(np.uint8) * np.uint8(255)
    if images.dtype in (np.uint8, np.float32):
        return images
    if kind in "iu" and images.min() >= 0 and images.max() <= 255:
        return images.astype(np.uint8)
    if kind in "iuf":
        return images.astype(np.float32)
    raise DataError(f"images of type {images.dtype} are not pixels", "give uint8 or float arrays")


def _refuse_other_scales(parts: Sequence[Part], arrays: Sequence[NDArray[Any]]) -> None:
    """DataError where some splits are scaled and others are not: 0..1 in one, 0..255 in another.

    Of uint8 in all of them nothing is said: these are the pixels of files.
    """
    if all(array.dtype == np.uint8 for array in arrays):
        return
    spreads = {}
    for part, array in zip(parts, arrays, strict=True):
        some = array[:: max(1, len(array) // _LOOKED_AT)].astype(np.float64)
        finite = some[np.isfinite(some)]
        spreads[SPLIT_NAMES[part.part]] = float(finite.std()) if len(finite) else 0.0
    least, most = min(spreads, key=spreads.__getitem__), max(spreads, key=spreads.__getitem__)
    if 0 < _OTHER_SCALE * spreads[least] < spreads[most]:
        raise DataError(
            f"the splits are scaled differently: the pixels of {least} have a standard deviation "
            f"of {spreads[least]:.3g}, those of {most} {spreads[most]:.3g}",
            "scale all splits in the same way, for example x / 255, or leave all as they are",
        )


def _join(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """All images in one array; where only some parts are uint8, all become float32."""
    kinds = {array.dtype for array in arrays}
    joined = np.empty(
        (sum(map(len, arrays)), *arrays[0].shape[1:]),
        kinds.pop() if len(kinds) == 1 else np.float32,
    )
    start = 0
    for array in arrays:
        joined[start : start + len(array)] = array
        start += len(array)
    return joined


def join_labels(values: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Labels of all parts in one array; DataError if their shapes differ."""
    try:
        return np.concatenate(values)
    except ValueError:
        listed = ", ".join(str(list(value.shape)) for value in values)
        raise DataError(
            f"labels of the splits have different shapes: {listed}", "bring them to one shape"
        ) from None


def _sample_stamp(images: NDArray[Any]) -> str:
    """A stamp of up to a thousand images spread over all, for arrays that have no file."""
    step = max(1, len(images) // 1000)
    return make_stamp(images[::step])
