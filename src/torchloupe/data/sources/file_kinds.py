"""Formats of arrays and archives that a file or folder is known by, and what opens each.

Names decide where they are certain; if they are not, a look into the file does.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from torchloupe.data.sources.cifar import is_cifar, open_cifar
from torchloupe.data.sources.hdf5 import HDF5_ENDINGS, open_hdf5
from torchloupe.data.sources.parquet_images import find_parquet, open_parquet
from torchloupe.data.sources.source import SPLIT_WORDS, Data
from torchloupe.data.sources.tensors import (
    TORCH_ENDINGS,
    open_safetensors,
    open_torch,
)

OPENERS: dict[str, Callable[..., Data]] = {
    "cifar": open_cifar,
    "pt": open_torch,
    "safetensors": open_safetensors,
    "h5": open_hdf5,
    "parquet": open_parquet,
}
_FEW_FILES = 20
ARRAY_KINDS = ("cifar", "pt", "safetensors", "h5")  # those that `layout` is for


def kind_of_array_file(path: Path) -> str:
    """Which of OPENERS reads a file; "" if none does."""
    ending = path.suffix.lower()
    if ending == ".parquet":
        return "parquet" if find_parquet(path) else ""
    if ending in TORCH_ENDINGS:
        return "pt"
    if ending in HDF5_ENDINGS:
        return "h5"
    return "safetensors" if ending == ".safetensors" else ""


def kind_of_array_folder(path: Path, files: Sequence[str], folders: Sequence[str]) -> str:
    """Which of OPENERS reads a folder, given what lies in it, in lower case; "" if none does."""
    if is_cifar(files):
        return "cifar"
    if not folders and any(name.endswith(TORCH_ENDINGS) for name in files):
        return "pt"
    if not folders and any(name.endswith(HDF5_ENDINGS) for name in files):
        return "h5"
    is_inside = len(folders) == 1 and len(files) <= _FEW_FILES  # a README and the like
    is_split = bool(folders) and set(folders) <= set(SPLIT_WORDS)
    may_be = is_inside or is_split or any(name.endswith(".parquet") for name in files)
    return "parquet" if may_be and find_parquet(path) else ""
