"""Tensors in files: `.pt` and `.pth` of tensors alone, and `.safetensors`."""

import os
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file

from torchloupe.data.sources.archives import open_mapping
from torchloupe.data.sources.objects import open_object
from torchloupe.data.sources.source import SPLIT_WORDS, Data, make_stamp, stamp_file
from torchloupe.errors import DataError, LoupeError, printable

TORCH_ENDINGS = (".pt", ".pth")


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
