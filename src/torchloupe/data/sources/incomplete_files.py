"""Files that stand for others: pointers of Git LFS, parts of archives, lists of where data are."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.errors import DataError, printable

_POINTER = b"version https://git-lfs.github.com/spec/v1"
_POINTER_BYTES = 1024  # at most, by its specification
_LOOKED_AT = 32  # small files that are read
_MOST_SEEN = 1000  # files of a folder
_PULL = "fetch the files themselves: git lfs pull"
_NUMBERED_PART = re.compile(
    r"(?P<whole>.+\.(zip|7z|rar|tar|tgz|gz|bz2|xz))\.(?P<part>\d{2,4}|a[a-z])"
)
_ZIP_PART = re.compile(r"(?P<stem>.+)\.z\d\d", re.IGNORECASE)


def refuse_pointer(path: Path) -> None:
    """DataError for a file that is a pointer of Git LFS."""
    if _is_pointer(os.fspath(path)):
        raise DataError(f"{printable(path)} is a pointer of Git LFS, not the file itself", _PULL)


def refuse_pointers(root: str, names: Sequence[Any], sizes: NDArray[np.int64]) -> None:
    """DataError where images are pointers of Git LFS; `sizes` [N] in bytes of files below `root`.

    The smallest possible share of the files is read: some of those as small as a pointer.
    """
    small = np.flatnonzero((sizes > len(_POINTER)) & (sizes <= _POINTER_BYTES))
    for row in small[:: max(1, len(small) // _LOOKED_AT)][: 2 * _LOOKED_AT].tolist():
        name = str(names[row])
        if _is_pointer(os.path.join(root, name)):  # noqa: PTH118
            raise DataError(
                f"{printable(root)} holds pointers of Git LFS in place of images, such as "
                f"'{printable(name)}'",
                _PULL,
            )


def explain_no_images(folder: Path) -> DataError | None:
    """The error for a folder without images where files in it stand for others; None else."""
    seen = 0
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(place, name)
            if _is_pointer(str(path)):
                what = f"{printable(folder)} holds pointers of Git LFS, such as"
                return DataError(f"{what} '{printable(path.relative_to(folder))}'", _PULL)
            if hint := hint_for_part(path):
                return DataError(f"{printable(folder)} holds parts of an archive", hint)
            seen += 1
            if seen > _MOST_SEEN:
                return None
    return None


def hint_for_part(path: Path) -> str:
    """How to join the parts of an archive, `x.zip.001` or `x.zip` beside `x.z01`; "" for others."""
    if found := _NUMBERED_PART.fullmatch(path.name):
        whole = path.parent / found["whole"]
        parts = "0*" if found["part"].isdigit() else "a*"
        return f"join the parts: cat '{printable(whole)}.'{parts} > '{printable(whole)}'"
    found = _ZIP_PART.fullmatch(path.name)
    first = path.with_suffix(".z01")
    if found or (path.suffix.lower() == ".zip" and first.is_file()):
        whole = path.with_suffix(".zip")
        joined = whole.with_name(f"{whole.stem}-joined.zip")
        return f"join the parts: zip -s 0 '{printable(whole)}' --out '{printable(joined)}'"
    return ""


def hint_for_config(path: Path) -> str:
    """The folder that a `data.yaml` of Ultralytics describes; "" for other files."""
    if path.suffix.lower() not in (".yaml", ".yml") or path.stat().st_size > 2**20:
        return ""
    text = path.read_text(encoding="utf-8", errors="replace")
    entries = dict(
        re.findall(r"^(path|train|val|names|nc)\s*:[ \t]*(.*?)[ \t]*$", text, re.MULTILINE)
    )
    if "train" not in entries or not {"val", "names", "nc"} & set(entries):
        return ""
    said = entries.get("path", "").strip("'\"")
    place = path.parent / said
    return f"give the folder it describes: {printable(place if place.is_dir() else path.parent)}"


def _is_pointer(path: str) -> bool:
    try:
        if os.stat(path).st_size > _POINTER_BYTES:  # noqa: PTH116
            return False
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(len(_POINTER)) == _POINTER
    except OSError:
        return False
