"""Labels and subsets of images in CVAT's XML: its tags, or where there are none of its shapes."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from torchloupe.data.sources.export_records import Records, pair_labels
from torchloupe.errors import DataError, printable

_HINT = "in CVAT, export the task as `CVAT for images`, `ImageNet` or `Datumaro`"
_HEAD_BYTES = 4096


def read_cvat(path: Path) -> Records:
    """The file, labels and subset of each image, and notes; none from any other XML.

    DataError for a document that defines entities: it could grow without end.
    """
    images: list[tuple[str, list[str]]] = []
    subsets: list[str] = []
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
                raise DataError(f"{printable(path)} defines entities, as no export does", _HINT)
            file.seek(0)
            for _, node in ElementTree.iterparse(file):
                if node.tag == "image" and (name := node.get("name")):
                    tags = [one for one in node.findall("tag") if one.get("label")]
                    found = tags or [one for one in node if one.get("label")]
                    labels = list(dict.fromkeys(str(one.get("label")) for one in found))
                    images.append((name, labels))
                    subsets.append(node.get("subset") or "default")
                    node.clear()
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise DataError(
            f"{printable(path)} can't be read as XML: {printable(error)}", _HINT
        ) from None
    folders = {part for part in set(subsets) if _holds_its_own(path, part, images, subsets)}
    files = [
        (f"{part}/{name}" if part in folders else name, labels)
        for (name, labels), part in zip(images, subsets, strict=True)
    ]
    return pair_labels(files, [{"subset": part} for part in subsets])


def _holds_its_own(
    path: Path, part: str, images: Sequence[tuple[str, list[str]]], subsets: Sequence[str]
) -> bool:
    """Whether the images of a subset are in a folder of its name, as projects are exported."""
    name = images[subsets.index(part)][0]
    places = (path.parent, path.parent / "images")
    is_plain = any((place / name).is_file() for place in places)
    return not is_plain and any((place / part / name).is_file() for place in places)
