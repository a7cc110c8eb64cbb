"""The errors of a folder without class folders: what it holds, and what may be the data instead."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torchloupe.data.sources.arrays_below import hint_for_arrays_below
from torchloupe.data.sources.incomplete_files import explain_no_images
from torchloupe.data.sources.layout import descend, images_beside
from torchloupe.data.sources.masks import IMAGE_FOLDERS, is_mask_folder
from torchloupe.data.sources.sidecars import find_sidecars, lists_ids, without_sidecars
from torchloupe.data.sources.source import count_ignored, name_some
from torchloupe.data.sources.split_names import is_filler
from torchloupe.data.sources.system_files import name_own_folder
from torchloupe.data.sources.tables_beside import rank_tables, tables_in
from torchloupe.data.sources.walk import Level, Walk
from torchloupe.errors import DataError, printable
from torchloupe.units import plural

NO_CLASSES = (
    "put the images of each class in a folder of its own, list them in a .csv, or say where the "
    "class is in their names: data.label_pattern=REGEX"
)
PICKLES = (".pkl", ".pickle", ".joblib")
ARCHIVES = (".gz", ".xz", ".bz2", ".zst", ".7z", ".rar")  # of kinds that are not read
_OF_YOUR_OWN = "read it by a Dataset of your own and give file.py:NAME"
_FOREIGN = (
    (
        (".tfrecord", ".tfrecords", ".tfrec", ".mdb", ".lmdb", ".rec", ".beton", ".msgpack"),
        _OF_YOUR_OWN,
    ),
    ((".arrow",), "load it by datasets.load_from_disk in a file of your own: file.py:NAME"),
    (
        (".mds", ".zstd"),
        "read it by a streaming.StreamingDataset in a file of your own: file.py:NAME",
    ),
    ((".xlsx", ".xls", ".ods"), "save the sheet as .csv and give that"),
    (
        (".dcm", ".dicom", ".nii", ".nrrd", ".mha"),
        "write each image or slice as a PNG of 16 bits, then give the folder",
    ),
    (
        (".mp4", ".avi", ".mov", ".mkv", ".webm"),
        "save frames of the videos as images, a folder of them for each class",
    ),
    (
        (".npy", ".npz", ".pt", ".pth"),
        "read a file an image by torchvision's DatasetFolder with a loader of your own, and give "
        "file.py:NAME",
    ),
    (
        (".mat",),
        "give the .mat file that lists the images, or write its labels into a .csv",
    ),
    (PICKLES, "load it in a file of your own and give file.py:NAME"),
    (ARCHIVES, "unpack it and give the folder"),
)
_PACKED_TABLES = (".csv.zip", ".csv.gz", ".tsv.zip", ".tsv.gz")
_MOST_SEEN = 1000  # files that are looked at for a hint
_PACKED = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")


def refuse_own(path: Path) -> None:
    """DataError for a folder that torchloupe wrote."""
    if what := name_own_folder(os.fspath(path)):
        raise DataError(
            f"{printable(path)} is {what} of torchloupe, not a folder of images",
            "give the folder of images",
        )


def see_only(path: Path, root: Path, only: str, folders: Sequence[str], is_below: bool) -> str:
    """The only class folder in `root` where it is to be entered, else ""; DataError if it is no
    class but a folder of images. `is_below` says that it lies in a split folder of `root`, whose
    `folders` were found there.
    """
    if is_below:
        _refuse_images_alone(path, root, only)
        return ""
    scout = Walk(str(root))
    if len(descend(scout, f"{only}/", scout.look(only))[1].folders) > 1:
        return only
    _refuse_listed(path, root, only, folders)
    return ""


def _refuse_listed(path: Path, root: Path, only: str, folders: Sequence[str]) -> None:
    """DataError where the one class found is a folder of images that something else labels.

    The class is `only` among the `folders` of `root`, which was reached from `path`.
    """
    above = [root, *(place for place in root.parents if place.is_relative_to(path))]
    beside = [root / name for name in folders if name != only]
    for places in (above, beside, [root / only]):
        levels = {place: Walk(str(place)).look() for place in places}
        found = [table for place, level in levels.items() for table in tables_in(place, level)]
        if tables := rank_tables(without_sidecars(found, root)):
            raise DataError(
                f"{printable(path)} has only one class folder, {name_some([only])}",
                f"did you mean {name_some(tables)}?",
            )
    if sidecars := find_sidecars(root):
        raise sidecars.explain(path)
    listed = sorted(root / name for name in Walk(str(root)).look().files)
    if tables := [file for file in listed if lists_ids(file, root / only)]:
        raise DataError(
            f"{printable(path)} has only one class folder, {name_some([only])}",
            f"did you mean {name_some(rank_tables(tables) or tables)}?",
        )
    masks = [name for name in folders if is_mask_folder(name)]
    if only.lower() in IMAGE_FOLDERS and masks:
        raise images_beside(root, [only, *masks], (), NO_CLASSES)


def _refuse_images_alone(path: Path, root: Path, only: str) -> None:
    """DataError where the one class in the splits of `root` says nothing: `train/images/`."""
    if not is_filler(only):
        return
    if sidecars := find_sidecars(root):
        raise sidecars.explain(path)
    raise DataError(
        f"{printable(path)} has only one class folder in its splits, {name_some([only])}",
        NO_CLASSES,
    )


def refuse_labels_beside(path: Path, ignored: Mapping[str, int], images: int) -> None:
    """DataError where as good as every image has a NAME.cls beside it: folders are no classes."""
    if ignored.get(".cls", 0) * 2 > images:
        raise DataError(
            f"{printable(path)} is a set of shards that was unpacked: labels are in files beside "
            "the images (NAME.cls), not in the names of folders",
            f"give the shards, or pack them again (tar -cf set.tar -C {printable(path)} .)",
        )


def no_images(
    path: Path, walk: Walk, top: Level, outside: Mapping[str, int], beside: Iterable[Path]
) -> DataError:
    """What to say of a folder in which no class folder holds an image.

    `top` is what `walk` found at its root, `outside` how many images lie in which split outside
    class folders, `beside` the tables that stand there.
    """
    shown, ignored = printable(path), walk.ignored
    found = rank_tables(tables_in(Path(walk.root), top)) or sorted(beside)
    inside = [place for place in Path(walk.root).parents if place.is_relative_to(path)]
    for place in inside if not found else ():  # folders that were gone through
        found = found or rank_tables(tables_in(place, Walk(str(place)).look()))
    found = found or rank_tables(
        table
        for place in dict.fromkeys((Path(walk.root), path, *_above(path)))
        for name in filter(is_mask_folder, Walk(str(place)).look().folders)
        for table in tables_in(place / name, Walk(str(place / name)).look())
    )
    tables = [Path(walk.root, name) for name in top.files if name.lower().endswith(_PACKED_TABLES)]
    found = found or rank_tables(tables)  # train.csv.zip beside train/
    loose = top.loose + sum(outside.values())
    if not loose and (error := explain_no_images(path)):
        return error
    if loose and (sidecars := find_sidecars(Path(walk.root), [*_above(path), path][0])):
        return sidecars.explain(path)
    hint = "give a folder that holds one folder of images per class"
    if found:
        hint = f"did you mean {name_some(found)}?"
    elif loose:
        hint = NO_CLASSES
    elif ".cls" in ignored:
        hint = f"give the shards, or pack them again (tar -cf set.tar -C {shown} .)"
    elif ".tar" in ignored and not any(name.lower().endswith(".tar") for name in top.files):
        hint = f"if these are shards, give a pattern: '{shown}/*/*.tar'"
    elif packed := sorted(name for name in top.files if name.lower().endswith(_PACKED)):
        hint = f"give the archive itself: {printable(path / packed[0])}"
        if len(packed) > 1:
            hint = f"unpack {name_some(packed)} and give the folder, or give one of them"
    elif below := hint_for_arrays_below(Path(walk.root)):
        hint = below
    elif foreign := _hints(top.files, ignored):
        hint = foreign[0]
    if loose:
        where = f" in {name_some(outside)}" if outside else ""
        return DataError(
            f"{shown} holds {plural(loose, 'image')}{where} but no class folders", hint
        )
    if not top.folders and not top.files:
        return DataError(f"{shown} is empty", hint)
    if walk.own:
        return DataError(
            f"{shown} holds no images beside what torchloupe wrote: {name_some(walk.own)}", hint
        )
    passed = f" (passed over: {count_ignored(ignored)})" if ignored else ""
    return DataError(f"{shown} holds no images{passed}", hint)


def _above(path: Path) -> list[Path]:
    """The folder that a folder of images stands in, beside one of lists perhaps."""
    return [path.absolute().parent] if path.name.lower() in IMAGE_FOLDERS else []


def _hints(files: Iterable[str], ignored: Mapping[str, int]) -> list[str]:
    """What to do about files at the top of a folder, and about those of the endings in it."""
    endings = [f"x{ending}" for ending in ignored]
    return [hint for name in [*sorted(files), *endings] if (hint := hint_for_foreign(name))]


def hint_for_foreign(name: str) -> str:
    """What to do about a file of another framework or program, by its ending; "" if unknown."""
    ending = Path(name).suffix.lower()
    return next((hint for endings, hint in _FOREIGN if ending in endings), "")


def hint_for_no_images(root: Path) -> str:
    """What to do where no image is below the folder of a table, by what else is; "" if unknown."""
    seen = 0
    for _, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            seen += 1
            if seen > _MOST_SEEN:
                return ""
            if hint := hint_for_foreign(name):
                return hint
    return ""
