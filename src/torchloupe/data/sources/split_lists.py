"""Labels of a split whose images are in no class folders, from a list beside them or their folder.

`val/images/` of tiny-imagenet is labelled by `val/val_annotations.txt`, `Test/` by `Test.csv`.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from torchloupe.data.sources.source import FileReader
from torchloupe.data.sources.tables import open_table
from torchloupe.data.sources.walk import Facts, file_facts
from torchloupe.errors import LoupeError

Listed = tuple[str, str, Facts]  # path relative to the folder, class, size and times


def read_split_list(
    tables: Iterable[Path], folder: Path, count: int, known: Iterable[str]
) -> tuple[list[Listed], Path | None]:
    """The labelled images of one split and the list that names them; none if no list fits.

    A list fits if it names each of the `count` images below `folder` once, and only the classes in
    `known`.
    """
    classes = frozenset(known)
    base = os.path.join(os.path.abspath(folder), "")  # noqa: PTH100, PTH118
    for path in tables:
        try:
            data = open_table(path)
        except LoupeError:
            continue
        samples, reader = data.samples, data.reader
        fits = not samples.is_multi_label and set(samples.class_names) <= classes
        if not fits or len(samples) != count or not isinstance(reader, FileReader):
            continue
        root = os.path.abspath(reader.root)  # noqa: PTH100
        joined = (os.path.join(root, reader.name(row)) for row in range(count))  # noqa: PTH118
        paths = [os.path.normpath(path) for path in joined]
        if not all(path.startswith(base) for path in paths):
            continue
        names = [path[len(base) :] for path in paths]
        labels = [samples.class_names[label] for label in samples.labels.tolist()]
        facts = [file_facts(path) for path in paths]
        return list(zip(names, labels, facts, strict=True)), path
    return [], None
