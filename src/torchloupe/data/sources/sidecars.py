"""Files of text, JSON or XML that stand for one image each: `1.jpg` and `1.json`, `labels/1.txt`.

They are not read: what they hold differs from program to program. They are named, with what to do.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.image_names import walk_images
from torchloupe.data.sources.system_files import is_system_name
from torchloupe.data.sources.text_lists import LIST_ENDINGS
from torchloupe.errors import DataError, printable

_ENDINGS = (".json", ".txt", ".xml", ".yaml", ".yml", ".csv")
_SOME = 1000  # images and files that are looked at
_HEAD_BYTES = 65_536
_BOX = re.compile(r"\d+( +-?\d*\.?\d+){4,}")  # a class and a box or outline, as YOLO has them
_BOXED = re.compile(
    r"<bndbox>|\"(bbox|bounding_box|shape_type)\"|\"shapes\": *\[ *\{", re.IGNORECASE
)


@dataclass(frozen=True)
class Sidecars:
    """Files that each belong to an image of the same name."""

    first: Path
    has_boxes: bool

    def explain(self, path: Path) -> DataError:
        """The error of `path`, a folder whose images have such files."""
        shown, name = printable(path), printable(os.path.relpath(self.first, path))
        if self.has_boxes:
            return DataError(
                f"{shown} has a file of boxes for each image, such as '{name}': labels of object "
                "detection",
                "cut the boxes out and put them into a folder for each class, or list an image "
                "and a label in each row of a .csv",
            )
        return DataError(
            f"{shown} has a file for each image, such as '{name}', and no class folders",
            "write what these files say into one labels.csv with the columns image and label",
        )


def find_sidecars(root: Path, path: Path | None = None) -> Sidecars | None:
    """The sidecars of the images below `root`, in any folder of it or, if given, of `path`; None
    if fewer than half of the images have one.
    """
    stems = _list_stems(root)
    found = [file for file in _walk_files(path or root) if file.stem in stems]
    names = {file.stem.removesuffix(Path(file.stem).suffix) or file.stem for file in found}
    images = sum(os.path.splitext(stem)[1].lower() in IMAGE_SUFFIXES for stem in stems)  # noqa: PTH122
    if not found or 2 * len(names) < images:
        return None
    texts = [_read_head(file) for file in found[:10]]
    boxed = [bool(_BOXED.search(text)) or _is_of_boxes(text) for text in texts if text.strip()]
    return Sidecars(found[0], any(boxed))


def without_sidecars(tables: Iterable[Path], root: Path) -> list[Path]:
    """The tables without those that are called as an image below `root` is."""
    found = list(tables)
    stems = _list_stems(root) if found else set()
    return [table for table in found if table.stem not in stems]


def lists_ids(file: Path, images: Path) -> bool:
    """Whether a file of text or JSON names images in a folder by their names without endings."""
    ending = file.suffix.lower()
    if ending not in (*LIST_ENDINGS, ".json"):
        return False
    some = zip(walk_images(str(images)), range(_SOME), strict=False)
    stems = {os.path.splitext(image.rpartition("/")[2])[0] for image, _ in some}  # noqa: PTH122
    head = _read_head(file)
    if ending == ".json":
        return len(stems & set(re.findall(r'"([^"]+)"', head))) * 2 > min(len(stems), 20)
    lines = [re.split(r"[\s,;]+", line.strip()) for line in head.splitlines()[:40] if line.strip()]
    named = [len(cells) > 1 and cells[0] in stems for cells in lines]
    return bool(named) and sum(named) * 2 > len(named)


def _list_stems(root: Path) -> set[str]:
    """The names of images below `root`, some of them, with and without their endings."""
    stems = set()
    for image, _ in zip(walk_images(str(root)), range(_SOME), strict=False):
        name = image.rpartition("/")[2]
        stems |= {os.path.splitext(name)[0], name}  # noqa: PTH122
    return stems


def _walk_files(root: Path) -> Iterator[Path]:
    count = 0
    for place, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not is_system_name(name))
        for name in sorted(files):
            if name.lower().endswith(_ENDINGS):
                count += 1
                if count > _SOME:
                    return
                yield Path(place, name)


def _is_of_boxes(text: str) -> bool:
    return all(_BOX.fullmatch(line.strip()) for line in text.splitlines() if line.strip())


def _read_head(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(_HEAD_BYTES).decode("utf-8-sig", "replace")
    except OSError:
        return ""
