"""Arrays further down in a folder that holds no images: the folder or file to give instead."""

import os
from collections.abc import Sequence
from pathlib import Path

from torchloupe.data.sources.archives import read_role
from torchloupe.data.sources.cifar import is_cifar
from torchloupe.data.sources.idx import is_idx_name
from torchloupe.data.sources.source import SPLIT_WORDS, name_some
from torchloupe.data.sources.split_names import read_split_name
from torchloupe.data.sources.system_files import is_system_name

_SETS = (".npy", ".pt", ".pth", ".h5", ".hdf5")  # a folder of which may be one set
_FILES = (".npz", ".h5", ".hdf5", ".safetensors", ".pt", ".pth")  # one of which may be a set
_DEEPEST = 4
_MOST_FOLDERS = 200  # that are looked into
_MOST_FILES = 1000  # in a folder of arrays; one of more is of a file an image


def hint_for_arrays_below(path: Path) -> str:
    """What to give where arrays lie in folders of a folder; "" where none do.

    Files of an image each, in class folders, are none: their names say no role and no split.
    """
    places = _find(path)
    splits = [place for place in places if place.is_dir() and place.name.lower() in SPLIT_WORDS]
    if len(splits) > 1 and splits == places:
        ending = next(file.suffix for file in sorted(splits[0].iterdir()) if file.is_file())
        names = name_some(f"{word}_{role}{ending}" for word in ("train", "test")
                          for role in ("images", "labels"))  # fmt: skip
        return f"put the arrays of {name_some([p.name for p in splits])} into one folder: {names}"
    return f"did you mean {name_some(places)}?" if places else ""


def _find(path: Path) -> list[Path]:
    """The folders of arrays below `path`, or the files where they are one each."""
    found: list[Path] = []
    for count, (place, folders, files) in enumerate(os.walk(path)):
        folders[:] = sorted(name for name in folders if not is_system_name(name))
        depth = len(Path(place).relative_to(path).parts)
        if depth >= _DEEPEST:
            folders.clear()
        if count >= _MOST_FOLDERS or (len(files) > _MOST_FILES and not found):
            return found if count >= _MOST_FOLDERS else []
        if found and found[-1] in Path(place).parents:
            continue
        if depth:
            found += _arrays_in(Path(place), sorted(files))
    return found


def _arrays_in(place: Path, files: Sequence[str]) -> list[Path]:
    """The folder itself if its files are a set of arrays, or the one file that is a set."""
    names = [name.lower() for name in files]
    if is_cifar(names) or any(map(is_idx_name, names)):
        return [place]
    sets = [Path(name) for name in files if name.lower().endswith(_SETS)]
    if len(sets) > 1:
        is_told = any(read_role(file.stem)[0] or read_split_name(file.stem) for file in sets)
        return [place] if is_told else []
    single = [name for name in files if name.lower().endswith(_FILES)]
    return [place / single[0]] if len(single) == 1 and not Path(single[0]).stem.isdigit() else []
