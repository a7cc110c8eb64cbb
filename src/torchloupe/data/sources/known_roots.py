"""Folders as torchvision lays them out for its own sets, known by their names and contents.

What is found is a source to open instead: the set by its name, with its own splits, or the
folder in the root that holds the arrays.
"""

import os
from pathlib import Path

from torchloupe.data.sources.cifar import is_cifar
from torchloupe.data.sources.idx import is_idx_name
from torchloupe.data.sources.named import PREFIX
from torchloupe.data.sources.source import name_some
from torchloupe.errors import DataError, printable

# The folder of a set in torchvision's root: its class, and what lies in it and in no other.
_SETS = {
    "food-101": ("Food101", ("meta/train.json", "meta/test.json", "images")),
    "flowers-102": ("Flowers102", ("jpg", "setid.mat", "imagelabels.mat")),
    "oxford-iiit-pet": ("OxfordIIITPet", ("images", "annotations/trainval.txt")),
    "dtd": ("DTD", ("dtd/images", "dtd/labels/train1.txt")),
    "fgvc-aircraft-2013b": ("FGVCAircraft", ("data/images", "data/images_variant_train.txt")),
    "gtsrb": ("GTSRB", ("GTSRB/Training",)),
    "stanford_cars": ("StanfordCars", ("devkit/cars_meta.mat",)),
    "fer2013": ("FER2013", ("train.csv",)),
    "clevr": ("CLEVRClassification", ("CLEVR_v1.0/scenes",)),
}
_ARRAYS = frozenset(
    (
        *("mnist", "fashionmnist", "kmnist", "qmnist", "raw", "stl10_binary"),
        *("cifar-10-batches-py", "cifar-10-batches-bin", "cifar-100-python", "cifar-100-binary"),
    )
)


def find_known_root(path: Path) -> str:
    """What to open in place of a folder that is torchvision's; "" for any other folder.

    DataError for a root that holds several sets.
    """
    if found := _as_set(path):
        return found
    if (path / "train_32x32.mat").is_file():
        return f"{PREFIX}{path}/SVHN"
    with os.scandir(path) as entries:
        inner = [path / e.name for e in entries if e.name[0] not in "._" and e.is_dir()]
    known = {p.name: found for p in sorted(inner) if (found := _as_set(p) or _as_arrays(p))}
    if len(known) > 1:
        raise DataError(
            f"{printable(path)} holds several data sets: {name_some(known)}",
            "give the folder of one of them",
        )
    return next(iter(known.values())) if len(inner) == 1 and known else ""


def _as_set(path: Path) -> str:
    """The source text of a set of torchvision in its own folder, or ""."""
    resolved = path.absolute()
    name, inside = _SETS.get(resolved.name.lower(), ("", ()))
    is_whole = bool(name) and all((path / entry).exists() for entry in inside)
    return f"{PREFIX}{resolved.parent}/{name}" if is_whole else ""


def _as_arrays(path: Path) -> str:
    """A folder so called, or `raw` in it, where it holds CIFAR, STL-10 or IDX files; else ""."""
    if path.name.lower() not in _ARRAYS:
        return ""
    for place in (path, path / "raw"):
        if place.is_dir():
            names = [file.name for file in place.iterdir() if file.is_file()]
            if is_cifar(names) or any(map(is_idx_name, names)):
                return str(place)
    return ""
