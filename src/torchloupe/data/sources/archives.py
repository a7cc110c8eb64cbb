"""Arrays in files: `.npz` and pairs of `.npy`, told apart by the names people give them.

Nothing that needs pickle is read: a pickle can run code.
"""

import math
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from torchloupe.data.sources.array_columns import name_numbered, read_array_columns
from torchloupe.data.sources.arrays import Part, open_arrays
from torchloupe.data.sources.lists import is_image_list, open_lists
from torchloupe.data.sources.source import SPLIT_WORDS, Data, name_some, stamp_file
from torchloupe.data.sources.split_names import read_split_name
from torchloupe.data.split import TRAIN
from torchloupe.errors import DataError, LoupeError, printable
from torchloupe.units import format_bytes

_SAVE = "save plain arrays: numpy.savez(path, images=..., labels=...)"
_PARTS = "|".join(sorted(SPLIT_WORDS, key=len, reverse=True))
_MOST_TRIED = 12  # arrays of other names whose shapes are looked at
_MOST_JOINED = 8 * 10**9  # bytes of arrays of one class each, which are copied
_ROLES = {
    "images": "images|image|imgs|img|x|data|features|pixels|arr_0",
    "labels": "labels|label|y|targets|target|arr_1",
    "names": "class_names|target_names|classes|label_names|names|categories|list_classes",
}


def open_npz(path: Path, *, layout: str = "auto", class_names: Sequence[str] = ()) -> Data:
    """Data from a `.npz` whose arrays have telling names; pickled objects are refused."""
    shown = printable(path)
    if not zipfile.is_zipfile(path):
        raise DataError(f"{shown} is not a .npz archive, or is cut short", _SAVE)
    with path.open("rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
        except Exception as error:
            raise _unreadable(shown, error) from None
        return open_mapping(
            StoredArrays(archive.__getitem__, dict.fromkeys(archive.files, shown)),
            name=path.stem,
            place=shown,
            stamp=stamp_file(os.fspath(path)),
            layout=layout,
            class_names=class_names,
        )


def open_npy(path: Path, *, layout: str = "auto", class_names: Sequence[str] = ()) -> Data:
    """Data from a folder of `.npy` files, or from one beside its labels; files are mapped.

    `images.npy` goes with `labels.npy`, `x_train.npy` with `y_train.npy`, `NAME.npy` with
    `NAME_labels.npy`, also where all names of a folder begin alike; `.npz` files of one array each
    are read in the same way. Files of other names that hold images of one shape are a class each.
    """
    folder = path if path.is_dir() else path.parent
    listed = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in (".npy", ".npz")]
    files = {p.stem: p for p in listed if p.suffix.lower() == ".npy"}
    files = files or {p.stem: p for p in listed}  # `.npz` beside `.npy` is something else
    files = _without_common_beginning(files) if path.is_dir() else _partners(path, files)
    arrays: Mapping[str, Any] = StoredArrays(
        lambda stem: _read_array(files[stem]),
        {stem: printable(file) for stem, file in files.items()},
    )
    notes: tuple[str, ...] = ()
    is_unnamed = path.is_dir() and not any(read_role(n)[0] or read_split_name(n) for n in files)
    if is_unnamed and (by_class := _join_classes(arrays)):
        arrays, class_names = by_class, tuple(class_names) or tuple(files)
        notes = (f"each of the {len(files)} files is a class: {name_some(files, 3)}",)
    data = open_mapping(
        arrays,
        name=folder.resolve().name if path.is_dir() else path.stem,
        place=printable(path),
        stamp=" ".join(stamp_file(os.fspath(p)) for p in files.values()),
        layout=layout,
        class_names=class_names,
    )
    return replace(data, notes=(*notes, *data.notes))


def holds_one_array(path: Path) -> bool:
    """Whether a `.npz` holds a single array, as numpy.savez(path, array) writes it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return len(archive.namelist()) == 1
    except (OSError, zipfile.BadZipFile):
        return False


def _read_array(file: Path) -> Any:
    if file.suffix.lower() == ".npy":
        return np.lib.format.open_memmap(file, mode="r")
    with np.load(file, allow_pickle=False) as archive:
        return archive[archive.files[0]]


def _without_common_beginning(files: Mapping[str, Path]) -> dict[str, Path]:
    """The files by their stems, without the words with which all of them begin."""
    words = [re.findall(r"[^-_. ]+[-_. ]*", stem) for stem in files]
    same = 0
    while len(words) > 1 and all(len(w) > same + 1 and w[same] == words[0][same] for w in words):
        same += 1
    return {"".join(w[same:]): file for w, file in zip(words, files.values(), strict=True)}


def _join_classes(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Images and labels of arrays that are a class each; {} unless all hold images of one shape.

    Arrays that may be one image each are none: `img1` and `img2`, [H, W, 3], flat squares.
    DataError where they are too large to be joined in memory.
    """
    pieces = [np.asanyarray(arrays[stem]) for stem in arrays]
    shape, kind = pieces[0].shape[1:], pieces[0].dtype
    if len(pieces) < 2 or any((p.shape[1:], p.dtype) != (shape, kind) for p in pieces):
        return {}
    side = math.isqrt(math.prod(shape))
    is_flat = len(shape) == 1 and kind == np.uint8 and side**2 == shape[0]
    are_numbered = len({re.sub(r"\d", "", stem) for stem in arrays}) < len(arrays)
    may_be_one = len(shape) == 2 and shape[1] in (1, 3, 4)
    may_be_one |= is_flat and any(len(piece) == shape[0] for piece in pieces)
    if are_numbered or may_be_one or (len(shape) < 2 and not is_flat):
        return {}
    size = sum(piece.nbytes for piece in pieces)
    if size > _MOST_JOINED:
        raise DataError(
            f"{len(pieces):,} arrays, one for each class, hold {format_bytes(size)} together",
            "save the images as images.npy and their class numbers as labels.npy, which are read "
            "in place",
        )
    counts = [len(piece) for piece in pieces]
    images = np.concatenate(pieces)
    if is_flat:  # rows of grey squares, as Quick, Draw! has them
        images = images.reshape(-1, side, side)
    return {"images": images, "labels": np.repeat(np.arange(len(counts)), counts)}


def open_mapping(
    arrays: Mapping[str, Any],
    *,
    name: str,
    place: str,
    stamp: str = "",
    layout: str = "auto",
    class_names: Sequence[str] = (),
) -> Data:
    """Data from arrays by name: x_train and y_train, images and labels, test_images, X and y."""
    given_names, notes = name_numbered(arrays, place)
    found = _find_roles(arrays, place, given_names)
    notes += _add_by_shape(arrays, found)
    splits = _find_splits(arrays, found, place)
    if not class_names and ("names", "") in found:
        listed = np.asarray(arrays[found["names", ""]])
        if listed.ndim == 1 and listed.dtype.kind in "US":
            class_names = [v.decode() if isinstance(v, bytes) else str(v) for v in listed]
    parts = [
        Part(
            SPLIT_WORDS.get(split, TRAIN),
            arrays[found["images", split]],
            arrays[found["labels", split]],
        )
        for split in splits
    ]
    flat = [key for key in arrays if read_role(key)[0] == "images"]  # where there are others
    used = {*found.values(), *flat}
    try:
        beside = read_array_columns(arrays, used, parts, found["labels", splits[0]], class_names)
        if beside.names is not None:
            parts = [replace(parts[0], labels=beside.names)]
        if any(is_image_list(part.images) for part in parts):
            data = open_lists(parts, name=name, layout=layout, class_names=class_names)
        else:
            data = open_arrays(
                parts, name=name, stamp=stamp, layout=layout, class_names=class_names
            )
        data = beside.complete(data)
    except DataError as error:
        raise DataError(f"{place}: {error.message}", error.hint) from None
    return replace(data, notes=(*notes, *data.notes)) if notes else data


def _find_splits(
    arrays: Mapping[str, Any], found: Mapping[tuple[str, str], str], place: str
) -> list[str]:
    """The splits whose images and labels were found; DataError where one lacks its partner."""
    splits = [split for role, split in found if role == "images" and ("labels", split) in found]
    splits.sort(key=lambda split: SPLIT_WORDS.get(split, TRAIN))
    lonely = [
        key for (role, split), key in found.items() if role != "names" and split not in splits
    ]
    if not splits or lonely:
        raise DataError(
            f"{place} holds {_describe(arrays)}; "
            + (
                f"no partner for {name_some(lonely)}"
                if lonely
                else "none is named as images or labels"
            ),
            "name them images and labels, or x_train, y_train, x_test and y_test",
        )
    if "" in splits and len(splits) > 1:
        mixed = [found["images", split] for split in splits]
        raise DataError(
            f"{place} has images with and without a split in their name: {name_some(mixed)}",
            "name the split of each: x_train, x_val, x_test",
        )
    return splits


def _find_roles(
    arrays: Mapping[str, Any], place: str, names: Mapping[str, str]
) -> dict[tuple[str, str], str]:
    """The key of each (role, split); DataError if two arrays could have the same.

    `names` are those of arrays that have no telling ones.
    """
    found: dict[tuple[str, str], str] = {}
    for key in arrays:
        role, split = read_role(names.get(key, key))
        if not role:
            continue
        twin = found.get((role, split))
        if twin is not None and role == "images":
            # A set may hold its images flat as well ("data" beside "images"): those are no help.
            flat = [np.ndim(arrays[name]) < 3 for name in (twin, key)]
            if flat == [False, True]:
                continue
            twin = None if flat == [True, False] else twin
        if twin is not None:
            raise DataError(
                f"{place} has two arrays that could be the {split + ' ' if split else ''}{role}: "
                f"{name_some([twin, key])}",
                "keep one of them, or rename the other",
            )
        found[role, split] = key
    return found


def _add_by_shape(arrays: Mapping[str, Any], found: dict[tuple[str, str], str]) -> tuple[str, ...]:
    """Add images or labels of other names to `found` where shapes leave one choice; notes on it.

    Images are [N, ...] of three axes and more, labels are N whole numbers or texts that repeat.
    """
    named = [role for role, _ in found if role != "names"]
    if len(arrays) > _MOST_TRIED or len(named) > 1 or any(split for _, split in found):
        return ()
    free = {key: np.asanyarray(arrays[key]) for key in arrays if key not in found.values()}
    images = [key for key, array in free.items() if array.ndim >= 3]
    images = [found["images", ""]] if "images" in named else images
    if len(images) != 1:
        return ()
    count = len(arrays[images[0]])
    labels = [key for key, array in free.items() if _may_be_labels(array, count)]
    labels = [found["labels", ""]] if "labels" in named else labels
    if len(labels) != 1:
        return ()
    found["images", ""], found["labels", ""] = images[0], labels[0]
    pair = printable(images[0]), printable(labels[0])
    return (f"'{pair[0]}' are taken as the images and '{pair[1]}' as labels, by their shapes",)


def _may_be_labels(array: Any, count: int) -> bool:
    """Whether an array holds a whole number or text for each of `count` images, and some twice."""
    is_list = array.shape in ((count,), (count, 1)) and array.dtype.kind in "biuUS"
    return is_list and len(np.unique(array)) < count


def read_role(key: str) -> tuple[str, str]:
    """What an array's name says it is: ("images", "train") for x_train; ("", "") if nothing."""
    for role, words in _ROLES.items():
        before = rf"(?:(?P<before>{_PARTS})[-_. ]?(?:set[-_. ]?)?)?(?:{words})"
        match = re.fullmatch(rf"{before}(?:[-_. ]?(?P<after>{_PARTS}))?", key.lower())
        if match and not (match["before"] and match["after"]):
            return role, match["before"] or match["after"] or ""
    return "", ""


class StoredArrays(Mapping[str, Any]):
    """Arrays by name, each read when asked for; `places` says in errors where each comes from."""

    def __init__(self, read: Callable[[str], Any], places: Mapping[str, str]) -> None:
        self._read = read
        self._places = places

    def __getitem__(self, key: str) -> Any:
        try:
            return self._read(key)
        except Exception as error:  # over damaged files numpy raises nearly every type there is
            raise _unreadable(self._places[key], error) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _partners(path: Path, files: Mapping[str, Path]) -> dict[str, Path]:
    """The files that go with one `.npy` of images, under the names images and labels."""
    role, split = read_role(path.stem)
    for stem, file in files.items():
        beside = read_role(stem) == ("labels", split) if role == "images" else False
        if beside or re.fullmatch(rf"{re.escape(path.stem)}[-_. ]?(labels?|y|targets?)", stem):
            return {"images": path, "labels": file}
    raise DataError(
        f"{printable(path)} has no labels beside it (found: {name_some(files)})",
        f"save the labels as {printable(path.stem)}_labels.npy in the same folder",
    )


def _unreadable(shown: str, error: Exception) -> DataError:
    if re.search("pickle|Python objects", str(error)):
        return DataError(
            f"{shown} holds Python objects: reading those can run code, and is refused", _SAVE
        )
    return DataError(f"{shown} can't be read as arrays: {printable(error)}", _SAVE)


def _describe(arrays: Mapping[str, Any]) -> str:
    """`'a' [10, 3], 'b' [10]`, or "nothing"."""
    shown = []
    for key in list(arrays)[:6]:
        try:
            shape = str(list(np.shape(arrays[key])))
        except (ValueError, OSError, LoupeError):
            shape = "(not an array)"
        shown.append(f"'{printable(key, 60)}' {shape}")
    more = f" and {len(arrays) - 6} more" if len(arrays) > 6 else ""
    return (", ".join(shown) + more) or "nothing"
