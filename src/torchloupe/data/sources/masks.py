"""Masks beside pictures: `COVID/masks/1.png` beside `COVID/images/1.png`, `cat 1_mask.png`.

They show regions of a picture, and are no pictures of their class. A folder counts as one of masks
only beside a folder of images, a file only beside the picture that it is named after.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.left_out import LeftOut
from torchloupe.data.sources.walk import Facts

IMAGE_FOLDERS = frozenset(("image", "images", "img", "imgs", "photos", "pictures", "jpegimages"))
_MASK_FOLDERS = frozenset(
    (
        *("mask", "masks", "trimap", "trimaps", "label", "labels", "annotation", "annotations"),
        *("segmentation", "segmentations", "segmentationclass", "segmentationobject", "xmls"),
        *("groundtruth", "gt", "imagesets"),
    )
)
_MASK = re.compile(
    r"(?P<picture>.+)[-_. ](mask|masks|segmentation|seg|groundtruth|gt|depth)([-_ ]?\d+)?",
    re.IGNORECASE,
)


def is_mask_folder(name: str) -> bool:
    """Whether a folder's name says that it holds masks, boxes or lists of a set's images."""
    return re.sub("[-_. ]", "", name.lower()) in _MASK_FOLDERS


def is_mask_name(stem: str) -> bool:
    """Whether a file's name says that it is the mask of a picture: `a_mask`, `a_depth_1`."""
    return _MASK.fullmatch(stem) is not None


class MaskFilter:
    """Leaves masks out of the images that a walk finds below `root`, and counts them."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._folders: dict[str, bool] = {}  # folders seen, and whether they are of masks
        self._left_out = LeftOut()

    def pictures(
        self, top: str, images: Iterator[tuple[str, Facts]]
    ) -> Iterator[tuple[str, Facts]]:
        """The images without the masks; `top` is the class folder that all are in."""
        for name, facts in images:
            folder, _, last = name.rpartition("/")
            if self._is_of_masks(folder, top):
                self._left_out.add(f"in {folder.rpartition('/')[2]}/", name)
            elif (found := _MASK.fullmatch(os.path.splitext(last)[0])) and self._has_picture(  # noqa: PTH122
                folder, found["picture"], last
            ):
                self._left_out.add("named after their pictures", name)
            else:
                yield name, facts

    @property
    def folder_names(self) -> set[str]:
        """The names of the folders that were left out."""
        return {folder.rpartition("/")[2] for folder, is_one in self._folders.items() if is_one}

    def notes(self) -> list[str]:
        """What was left out, by kind, with an example each."""
        return self._left_out.notes("mask", "masks", "not used as images")

    def _is_of_masks(self, folder: str, top: str) -> bool:
        """Whether a folder, or one above it in the class folder, stands beside images as masks."""
        if folder in (top, ""):
            return False
        if folder not in self._folders:
            above, _, last = folder.rpartition("/")
            self._folders[folder] = self._is_of_masks(above, top) or (
                is_mask_folder(last) and self._holds_images_folder(above)
            )
        return self._folders[folder]

    def _holds_images_folder(self, folder: str) -> bool:
        with os.scandir(Path(self._root, folder)) as entries:
            return any(entry.is_dir() and entry.name.lower() in IMAGE_FOLDERS for entry in entries)

    def _has_picture(self, folder: str, picture: str, last: str) -> bool:
        own = os.path.splitext(last)[1]  # noqa: PTH122
        endings = dict.fromkeys((own, *IMAGE_SUFFIXES))
        return any(Path(self._root, folder, picture + ending).exists() for ending in endings)
