"""A split in several folders: `train.X1` to `train.X4` beside `val.X`, `train_1`, `train-part2`."""

from collections.abc import Callable, Collection, Iterable, Mapping

from torchloupe.data.sources.source import name_some
from torchloupe.data.sources.split_names import read_split_name
from torchloupe.data.sources.walk import Level, Walk
from torchloupe.data.split import SPLIT_NAMES, TRAIN

_OF_PARTS = frozenset(("part", "parts", "shard", "chunk", "batch", "volume", "vol", "archive"))


def read_parts(
    names: Collection[str], find_classes: Callable[[str], Collection[str]]
) -> dict[str, int]:
    """The split of each folder where all names say one and some are numbered parts; else {}.

    `find_classes` gives the class folders in a folder. Where all are of train, these must differ
    from one to the next; pairs such as `train_1`, `val_1`, `train_2`, `val_2` are folds, not parts.
    """
    said = {name: found for name in names if (found := read_split_name(name))}
    splits = {name: found.part for name, found in said.items()}
    parts = list(splits.values())
    are_parts = all(_is_part(word) for found in said.values() for word in found.frame)
    is_several = any(parts.count(part) > 1 for part in parts)
    if len(said) < len(names) or not are_parts or not is_several or TRAIN not in parts:
        return {}
    frames = {part: {said[n].frame for n, p in splits.items() if p == part} for part in set(parts)}
    repeated = [part for part in frames if parts.count(part) > 1]
    if len(frames) == 1:
        classes = [set(find_classes(name)) for name in splits]
        are_apart = len(set().union(*classes)) == sum(map(len, classes)) and all(classes)
        return splits if are_apart else {}
    # Of `train` and `train (1)` one may be a copy of the other.
    are_numbered = len(frames[TRAIN]) == parts.count(TRAIN) and () not in frames[TRAIN]
    return splits if are_numbered and repeated == [TRAIN] else {}


def note_names(splits: Mapping[str, int]) -> str:
    """The note that folders are read as splits by their names."""
    read = []
    for part in dict.fromkeys(splits.values()):
        same = [name for name, other in splits.items() if other == part]
        read.append(f"{name_some(same)} as {SPLIT_NAMES[part]}")
    return f"folders are read as splits by their names: {', '.join(read)}"


def note_unused(ids: Iterable[str], labels: Collection[str]) -> list[str]:
    """A note where the folders of some images say a split, which is not used."""
    cut = [place.split("/") for place in {name.rpartition("/")[0] for name in ids}]
    folders = {"/".join(parts[:depth]) for parts in cut for depth in range(1, len(parts) + 1)}
    plain = [
        folder
        for folder in sorted(folders)
        if (found := read_split_name(folder.rpartition("/")[2]))
        and found.part != TRAIN
        and all(map(str.isdigit, found.frame))
    ]
    if not plain or {place.rpartition("/")[2] for place in plain} <= set(labels):
        return []
    says = "says" if len(plain) == 1 else "say"
    return [
        f"{name_some(plain)} {says} a split, which is not used: all "
        "images are divided anew; put class folders into train/, val/ and test/ to use it"
    ]


def name_again(scout: Walk, split: str, prefix: str, level: Level) -> str:
    """The only folder in a split where it is called like it and holds loose images, ending in "/";
    else "": `train/train/cat.1.jpg`. `level` is what lies in `prefix`, at the end of `split`.
    """
    if len(level.folders) != 1 or level.loose:
        return ""
    only, above = level.folders[0], split.rstrip("/")
    found = read_split_name(only)
    is_same = only == above or (found is not None and found == read_split_name(above))
    return f"{prefix}{only}/" if is_same and not scout.look(prefix + only).folders else ""


def _is_part(word: str) -> bool:
    return word.isdigit() or len(word) == 1 or word in _OF_PARTS
