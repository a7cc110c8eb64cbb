"""Tensors in files: `.pt` and `.pth` of tensors alone, `.safetensors`, and HDF5 with an extra."""

import importlib
import os
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file

from torchloupe.data.sources.archives import StoredArrays, open_mapping
from torchloupe.data.sources.objects import open_object
from torchloupe.data.sources.source import SPLIT_WORDS, Data, make_stamp, stamp_file
from torchloupe.errors import DataError, LoupeError, UsageError, printable

TORCH_ENDINGS = (".pt", ".pth")
HDF5_ENDINGS = (".h5", ".hdf5")


def open_torch(path: Path, *, layout: str = "auto", class_names: Sequence[str] = ()) -> Data:
    """Data from a `.pt` that holds (images, labels), a dict of tensors or a list of samples.

    A folder holds one file a split, as `training.pt` and `test.pt`. Only tensors, numbers, texts
    and containers are read; DataError for a file that would need code to be run.
    """
    files = [path]
    source: Any
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in TORCH_ENDINGS)
        source = {file.stem: _load(file) for file in files if file.stem.lower() in SPLIT_WORDS}
        source = source or {file.stem: _load(file) for file in files}
    else:
        source = _load(path)
    try:
        name = path.resolve().name if path.is_dir() else path.stem
        data = open_object(source, name=name, layout=layout, class_names=class_names)
    except LoupeError as error:
        message, hint = f"{printable(path)}: {error.message}", error.hint
        if isinstance(source, dict) and any("weight" in str(key) for key in source):
            message = f"{printable(path)} holds the weights of a model, not images"
            hint = "give the images as data, and these with --weights"
        raise DataError(message, hint) from None
    return replace(data, stamp=make_stamp(*(stamp_file(os.fspath(file)) for file in files)))


def open_safetensors(path: Path, *, layout: str = "auto", class_names: Sequence[str] = ()) -> Data:
    """Data from a `.safetensors` whose tensors have telling names."""
    try:
        arrays = load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise DataError(
            f"{printable(path)} can't be read as safetensors: {printable(error)}",
            "fetch or save it again",
        ) from None
    return open_mapping(
        arrays,
        name=path.stem,
        place=printable(path),
        stamp=stamp_file(os.fspath(path)),
        layout=layout,
        class_names=class_names,
    )


def open_hdf5(path: Path, *, layout: str = "auto", class_names: Sequence[str] = ()) -> Data:
    """Data from an HDF5 file whose arrays have telling names, in groups or not.

    Arrays that lie in the file in one piece are mapped, others read. UsageError without h5py.
    """
    try:
        h5py: Any = importlib.import_module("h5py")
    except ImportError:
        raise UsageError(
            f"{printable(path)} needs the package h5py", "pip install 'torchloupe[h5]'"
        ) from None
    try:
        with h5py.File(path, "r") as file:
            found: dict[str, Any] = {}
            file.visititems(
                lambda name, item: (
                    found.update({name.replace("/", "_"): item})
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
            return open_mapping(
                StoredArrays(
                    lambda name: _read_hdf5(found[name], path),
                    dict.fromkeys(found, printable(path)),
                ),
                name=path.stem,
                place=printable(path),
                stamp=stamp_file(os.fspath(path)),
                layout=layout,
                class_names=class_names,
            )
    except OSError as error:
        raise DataError(
            f"{printable(path)} can't be read as HDF5: {printable(error)}", "fetch or save it again"
        ) from None


def _read_hdf5(item: Any, path: Path) -> Any:
    """One array of an open file; mapped where it lies there as it is."""
    if item.external or item.is_virtual:
        raise ValueError("its values lie in another file")
    if item.dtype.kind == "O":
        return np.array([v.decode() if isinstance(v, bytes) else str(v) for v in item[()]])
    offset = item.id.get_offset()
    if offset is None or item.chunks is not None or not item.size:
        return item[()]
    return np.memmap(path, dtype=item.dtype, mode="r", offset=offset, shape=item.shape)


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise DataError(
            f"{printable(path)} holds Python objects: reading those can run code, and is refused",
            "save plain tensors: torch.save((images, labels), path); or load it in a file of your "
            "own and give file.py:NAME",
        ) from None
    except Exception as error:  # over damaged files torch raises nearly every type there is
        raise DataError(
            f"{printable(path)} can't be read as tensors: {printable(error)}",
            "save it again: torch.save((images, labels), path)",
        ) from None
