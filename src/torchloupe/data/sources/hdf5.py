"""HDF5 files, with the extra h5: images and labels in one file, or in a file each.

PatchCamelyon comes as pairs: `..._train_x.h5` holds the images and `..._train_y.h5` their labels.
"""

import importlib
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from torchloupe.data.sources.archives import StoredArrays, open_mapping, read_role
from torchloupe.data.sources.source import Data, stamp_file
from torchloupe.data.sources.split_names import read_split_name
from torchloupe.data.split import SPLIT_NAMES
from torchloupe.errors import DataError, UsageError, printable

HDF5_ENDINGS = (".h5", ".hdf5")
_PARTNERS = {"x": "y", "images": "labels", "image": "label", "data": "labels"}


def open_hdf5(path: Path, *, layout: str = "auto", class_names: Sequence[str] = ()) -> Data:
    """Data from an HDF5 file whose arrays have telling names, in groups or not.

    From a folder, or a file of images beside one of labels, the names of the files say which
    split they are and, where the arrays don't, whether they hold images or labels. Arrays that lie
    in a file in one piece are mapped, others read. UsageError without h5py.
    """
    try:
        h5py: Any = importlib.import_module("h5py")
    except ImportError:
        raise UsageError(
            f"{printable(path)} needs the package h5py", "pip install 'torchloupe[h5]'"
        ) from None
    files = _find_files(path)
    found: dict[str, tuple[Any, Path]] = {}
    with ExitStack() as opened:
        for file in files:
            try:
                content = opened.enter_context(h5py.File(file, "r"))
            except OSError as error:
                raise DataError(
                    f"{printable(file)} can't be read as HDF5: {printable(error)}",
                    "fetch or save it again",
                ) from None
            arrays = _list_arrays(content, h5py.Dataset)
            names = {key: key for key in arrays}
            if len(files) > 1:
                names = {key: _name(file, key) for key in arrays}
            found |= {names[key]: (item, file) for key, item in arrays.items()}
        return open_mapping(
            StoredArrays(
                lambda name: _read(*found[name]),
                {name: printable(file) for name, (_, file) in found.items()},
            ),
            name=path.resolve().name if path.is_dir() else path.stem,
            place=printable(path),
            stamp=" ".join(stamp_file(os.fspath(file)) for file in files),
            layout=layout,
            class_names=class_names,
        )


def _find_files(path: Path) -> list[Path]:
    """The HDF5 files of a folder; a file of images and, where it is beside it, that of labels."""
    folder = path if path.is_dir() else path.parent
    listed = sorted(file for file in folder.iterdir() if file.suffix.lower() in HDF5_ENDINGS)
    if path.is_dir():
        return listed
    words = re.split(r"([-_. ])", path.stem.lower())
    partners = [
        "".join([*words[:place], _PARTNERS[word], *words[place + 1 :]])
        for place, word in enumerate(words)
        if word in _PARTNERS
    ]
    return [path, *(file for file in listed if file.stem.lower() in partners)]


def _list_arrays(content: Any, kind: type) -> Mapping[str, Any]:
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, kind):
            found[name.replace("/", "_")] = item

    content.visititems(visit)
    return found


def _name(file: Path, key: str) -> str:
    """A name for an array of one of several files: what it is and of which split."""
    role, split = read_role(key)
    role = role or next((r for w in re.split(r"[-_. ]", file.stem) if (r := read_role(w)[0])), "")
    named = read_split_name(file.stem)
    if not split and named is not None:
        split = SPLIT_NAMES[named.part]
    return "_".join(part for part in (split, role or key) if part)


def _read(item: Any, path: Path) -> Any:
    """One array of an open file; mapped where it lies there as it is."""
    if item.external or item.is_virtual:
        raise ValueError("its values lie in another file")
    if item.dtype.kind == "O":
        return np.array([v.decode() if isinstance(v, bytes) else str(v) for v in item[()]])
    offset = item.id.get_offset()
    if offset is None or item.chunks is not None or not item.size:
        return item[()]
    return np.memmap(path, dtype=item.dtype, mode="r", offset=offset, shape=item.shape)
