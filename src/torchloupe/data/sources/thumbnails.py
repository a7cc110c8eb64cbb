"""Small copies of pictures beside them: `cat/thumbs/1.jpg`, `cat/resized/1.jpg`, `1_thumb.jpg`.

They show the same picture once more. A folder or a file counts as one of copies only where there
is a picture of the same name that it was made of.
"""

import os
import re
from collections.abc import Iterator, Sequence

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.left_out import LeftOut
from torchloupe.data.sources.system_files import is_system_name
from torchloupe.data.sources.walk import Facts, Walk

_FOLDERS = frozenset(
    (
        *("thumb", "thumbs", "thumbnail", "thumbnails", "resized", "resize", "preview", "previews"),
        *("downscaled", "downsized", "lowres"),
    )
)
_NEARLY_ALL = 0.9
_SIZE = re.compile(r"\d{2,4}(px|x\d{2,4})?")
_FILE = re.compile(
    r"(?P<picture>.+)[-_. ]\(?(thumb|thumbnail|preview|resized|\d{2,4}x\d{2,4})\)?", re.IGNORECASE
)
_FILE_FIRST = re.compile(r"(thumb|thumbnail)[-_. ](?P<picture>.+)", re.IGNORECASE)


def is_thumbnail_folder(name: str) -> bool:
    """Whether a folder's name says that it holds small copies: `thumbs`, `resized_224`."""
    words = re.findall(r"[a-z]+|\d+x\d+|\d+", name.lower())
    plain = [word for word in words if word not in ("images", "imgs", "img", "px")]
    is_said = any(word in _FOLDERS for word in plain)
    return is_said and all(word in _FOLDERS or _SIZE.fullmatch(word) for word in plain)


def is_of_copies(walk: Walk, folder: str, others: Sequence[str]) -> bool:
    """Whether nearly all images in a folder so called bear the names of images in `others`."""
    if not is_thumbnail_folder(folder.rpartition("/")[2]):
        return False
    scout = Walk(walk.root)
    known = {_stem(name) for other in others for name, _ in scout.find_images(other)}
    own = [_stem(name) for name, _ in scout.find_images(folder)]
    return bool(own) and sum(stem in known for stem in own) >= _NEARLY_ALL * len(own)


def _stem(name: str) -> str:
    return os.path.splitext(name.rpartition("/")[2])[0]  # noqa: PTH122


class ThumbnailFilter:
    """Leaves small copies out of the images that a walk finds below `root`, and counts them."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._stems: dict[str, frozenset[str]] = {}  # folder to the names of the images in it
        self._left_out = LeftOut()

    def pictures(
        self, top: str, images: Iterator[tuple[str, Facts]]
    ) -> Iterator[tuple[str, Facts]]:
        """The images without small copies; `top` is the class folder that all are in."""
        for name, facts in images:
            folder, _, last = name.rpartition("/")
            stem = os.path.splitext(last)[0]  # noqa: PTH122
            copied = _FILE.fullmatch(stem) or _FILE_FIRST.fullmatch(stem)
            if self._is_below_copies(folder, top, stem):
                self._left_out.add(f"in {_thumbnails_in(folder, top)}/", name)
            elif copied and copied["picture"] in self._names_in(folder):
                self._left_out.add("named after their pictures", name)
            else:
                yield name, facts

    def notes(self) -> list[str]:
        """What was left out, by kind, with an example each."""
        end = "not used, their pictures are"
        return self._left_out.notes("small copy", "small copies", end)

    def _is_below_copies(self, folder: str, top: str, stem: str) -> bool:
        """Whether the picture of an image in a folder of copies stands above or beside it."""
        name = _thumbnails_in(folder, top)
        if not name:
            return False
        above, inner = _cut_at(folder, top, name)
        plain = re.sub(r"([-_. ](thumb|thumbnail|small|resized))$", "", stem, flags=re.IGNORECASE)
        places = [above, *(f"{above}/{other}" for other in self._folders_in(above, name))]
        return any(
            {stem, plain} & self._names_in(f"{place}/{inner}" if inner else place)
            for place in places
        )

    def _folders_in(self, folder: str, but: str) -> list[str]:
        with os.scandir(os.path.join(self._root, folder)) as entries:  # noqa: PTH118
            names = sorted(e.name for e in entries if e.is_dir() and not is_system_name(e.name))
        return [name for name in names if name != but and not is_thumbnail_folder(name)][:20]

    def _names_in(self, folder: str) -> frozenset[str]:
        """The names of the images in a folder, without endings."""
        if folder not in self._stems:
            if len(self._stems) > 64:
                self._stems.clear()
            place = os.path.join(self._root, folder)  # noqa: PTH118
            names = os.listdir(place) if os.path.isdir(place) else []  # noqa: PTH112, PTH208
            cut = map(os.path.splitext, names)
            self._stems[folder] = frozenset(s for s, e in cut if e.lower() in IMAGE_SUFFIXES)
        return self._stems[folder]


def _thumbnails_in(folder: str, top: str) -> str:
    """The first folder of copies on the way from the class folder to an image; "" for none."""
    below = folder.removeprefix(top).strip("/")
    return next((name for name in below.split("/") if name and is_thumbnail_folder(name)), "")


def _cut_at(folder: str, top: str, name: str) -> tuple[str, str]:
    """What is above and below the folder `name` in a path."""
    parts = folder.removeprefix(top).strip("/").split("/")
    at = parts.index(name)
    return "/".join([top, *parts[:at]]), "/".join(parts[at + 1 :])
