"""Tar files of images alone: one of each class, or all of them in one, as ImageNet has them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from torchloupe.errors import DataError, printable
from torchloupe.units import plural

_LOOP = 'for f in *.tar; do mkdir "${f%.tar}" && tar -xf "$f" -C "${f%.tar}"; done'
_SYNSET = re.compile(r"n\d{8}")


def refuse_class_tars(paths: Sequence[Path], ignored: Mapping[str, int]) -> None:
    """DataError for tar files without labels that may be classes, with the commands to unpack them.

    `ignored` are the members that are neither images nor labels, by ending.
    """
    if len(paths) == 1 and set(ignored) == {".tar"}:
        path = paths[0]
        inside = printable(path.with_suffix(""))
        raise DataError(
            f"{printable(path)} holds {plural(ignored['.tar'], '.tar file')}, perhaps one of each "
            "class",
            f"unpack all: mkdir '{inside}' && tar -xf '{printable(path)}' -C '{inside}' && "
            f"cd '{inside}' && {_LOOP}; then give {inside}",
        )
    stems = [path.stem for path in paths]
    are_numbered = len({re.sub(r"\d", "", stem) for stem in stems}) < len(stems)
    are_classes = not are_numbered or all(map(_SYNSET.fullmatch, stems))
    if len(paths) > 1 and not ignored and are_classes:
        folder = printable(paths[0].parent)
        raise DataError(
            f"{len(paths):,} .tar files in {folder} hold images and no labels, perhaps one class "
            "each",
            f"unpack each into a folder: cd '{folder}' && {_LOOP}; then give it again",
        )
