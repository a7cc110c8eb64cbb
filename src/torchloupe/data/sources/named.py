"""Sets known by name: `digits`, which comes with scikit-learn, and `torchvision:NAME`.

No hub is needed, and the network is only used when a download was asked for.
"""

import contextlib
import difflib
import gzip
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from torchloupe.data.sources.arrays import Part, open_arrays
from torchloupe.data.sources.datasets import open_datasets
from torchloupe.data.sources.source import Data, make_stamp, name_some
from torchloupe.data.split import TEST, TRAIN, VAL
from torchloupe.errors import DataError, UsageError, printable
from torchloupe.system.cache import find_cache

PREFIX = "torchvision:"
_OTHERWISE = {  # sets that a name alone can't open
    "EMNIST": "comes in six divisions",
    "ImageNet": "unpacks its archives into their folder",
}


def open_digits(class_names: Sequence[str] = ()) -> Data:
    """1,797 handwritten digits, 8x8, one channel; their 17 grey levels stretched to 0..255.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    # Read beside scikit-learn and not through it: importing it takes longer than training.
    package = importlib.util.find_spec("sklearn")
    places = list(package.submodule_search_locations or ()) if package else []
    file = Path(places[0], "datasets", "data", "digits.csv.gz") if places else Path()
    try:
        with gzip.open(file, "rt", encoding="ascii") as lines:
            table = np.loadtxt(lines, delimiter=",", dtype=np.int64)
    except (OSError, ValueError) as error:
        raise DataError(
            f"the digits of scikit-learn can't be read: {printable(error)}",
            "pip install --force-reinstall scikit-learn",
        ) from None
    grey = np.round(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    return open_arrays(
        [Part(TRAIN, grey, table[:, 64])], name="digits", layout="NHW", class_names=class_names
    )


def open_torchvision(
    name: str,
    *,
    download: bool = False,
    class_names: Sequence[str] = (),
    roots: Sequence[Path] | None = None,
) -> Data:
    """A set of `torchvision.datasets`, with its own splits: `torchvision:CIFAR10`.

    Files are looked for in `./data`, the current folder and the cache folder (`roots` instead,
    if given); `torchvision:FOLDER/NAME` says where they are. With `download` the files go
    to the last of them. DataError if they are missing.
    """
    folder, _, short = name.removeprefix(PREFIX).rpartition("/")
    if folder:
        roots = [Path(folder).expanduser()]
    elif roots is None:
        cache = find_cache()
        roots = [Path("data"), Path(), *([cache / "torchvision"] if cache else [])]
    make, short = _find_class(short)
    for root in roots:
        parts = _make_parts(make, short, root)
        if parts:
            return _open_parts(parts, short, class_names)
    if not download:
        looked = ", ".join(printable(root if str(root) != "." else "./") for root in roots)
        raise DataError(
            f"the files of torchvision's {short} are missing or damaged (looked in: {looked})",
            f"--download fetches them, or say where they are: {PREFIX}FOLDER/{short}",
        )
    parts = _make_parts(make, short, roots[-1], download=True)
    return _open_parts(parts, short, class_names)


def _find_class(name: str) -> tuple[Callable[..., Any], str]:
    # Loaded when asked for: torchvision takes a second to import.
    datasets = importlib.import_module("torchvision.datasets")
    known = {
        key: value
        for key in datasets.__all__
        if inspect.isclass(value := getattr(datasets, key))
        and {"train", "split", "image_set"} & set(inspect.signature(value).parameters)
        and "root" in inspect.signature(value).parameters
    }
    lower = {key.lower(): key for key in known}
    if name.lower() not in lower:
        near = difflib.get_close_matches(name.lower(), lower, n=3)
        raise UsageError(
            f"torchvision has no set {printable(name)!r} with splits of its own",
            f"did you mean {name_some(lower[key] for key in near)}?"
            if near
            else "for example torchvision:CIFAR10, torchvision:FashionMNIST, torchvision:SVHN",
        )
    return known[lower[name.lower()]], lower[name.lower()]


def _make_parts(
    make: Callable[..., Any], name: str, root: Path, *, download: bool = False
) -> dict[int, Any]:
    """The set's splits that `root` holds; none if its files are missing.

    torchvision looks at files only, unless told to download.
    """
    takes = inspect.signature(make).parameters
    options: dict[str, Any] = {"download": download} if "download" in takes else {}
    needed = [
        key
        for key, value in takes.items()
        if value.default is value.empty
        and value.kind is value.POSITIONAL_OR_KEYWORD
        and key not in ("root", "train", "split", "image_set")
    ]
    if needed or name in _OTHERWISE:
        raise UsageError(
            f"torchvision's {name} {_OTHERWISE.get(name, 'needs ' + ', '.join(needed))}",
            "make it in a file of your own and give file.py:name",
        )
    if "train" in takes:
        choices: list[tuple[int, dict[str, Any]]] = [
            (TRAIN, {"train": True}),
            (TEST, {"train": False}),
        ]
    else:
        key = "split" if "split" in takes else "image_set"
        names = (
            (TRAIN, "train"),
            (TRAIN, "trainval"),
            (VAL, "val"),
            (VAL, "valid"),
            (TEST, "test"),
        )
        choices = [(part, {key: name}) for part, name in names]
    parts: dict[int, Any] = {}
    for part, choice in choices:
        if part in parts:
            continue
        try:
            with contextlib.redirect_stdout(sys.stderr):
                parts[part] = make(root=os.fspath(root), **choice, **options)
        except ImportError as error:
            raise UsageError(
                f"torchvision's {name} needs a package: {printable(error)}", "install it with pip"
            ) from None
        except Exception as error:  # each set has its own ways to say that files are missing
            if isinstance(error, ValueError) and "train" not in takes:
                continue  # it has no such split
            if not download:
                return {}
            raise DataError(
                f"torchvision can't fetch {name}: {printable(error)}",
                f"fetch it elsewhere and say where it is: {PREFIX}FOLDER/{name}",
            ) from None
    return parts if TRAIN in parts else {}


def _open_parts(parts: dict[int, Any], name: str, class_names: Sequence[str]) -> Data:
    """Arrays where the set holds its images in memory, else its files one by one."""
    names = class_names or [str(label) for label in getattr(parts[TRAIN], "classes", ())]
    found = []
    for part, dataset in parts.items():
        images: Any = getattr(dataset, "data", None)
        labels: Any = getattr(dataset, "targets", getattr(dataset, "labels", None))
        if not hasattr(images, "ndim") or labels is None or len(labels) != len(images):
            break
        found.append(Part(part, images, labels))
    else:
        layout = "auto" if found[0].images.ndim == 3 else _layout(found[0].images.shape)
        return open_arrays(found, name=name, layout=layout, class_names=names)
    stamp = make_stamp("torchvision", name, *(len(dataset) for dataset in parts.values()))
    data = open_datasets(parts, name=name, class_names=class_names, stamp=stamp)
    # No transforms of a user's: the images are fixed, and can be packed like any others.
    return replace(data, kind="table")


def _layout(shape: Sequence[int]) -> str:
    return "NCHW" if shape[1] in (1, 3) and shape[3] not in (1, 3) else "NHWC"
