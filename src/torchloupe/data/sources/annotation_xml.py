"""Labels of images in CVAT's XML: its tags, or where an image has none the labels of its shapes."""

from pathlib import Path
from xml.etree import ElementTree

from torchloupe.errors import DataError, printable

_HINT = "in CVAT, export the task as `CVAT for images`, `ImageNet` or `Datumaro`"
_HEAD_BYTES = 4096


def read_cvat(path: Path) -> list[tuple[str, list[str]]]:
    """The file of each image and its labels; none from any other XML.

    DataError for a document that defines entities: it could grow without end.
    """
    records: list[tuple[str, list[str]]] = []
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
                    records.append((name, labels))
                    node.clear()
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise DataError(
            f"{printable(path)} can't be read as XML: {printable(error)}", _HINT
        ) from None
    return records
