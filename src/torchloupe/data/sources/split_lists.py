"""Labels of a split whose images are in no class folders, from a list beside them.

So tiny-imagenet's `val/images/` is labelled by `val/val_annotations.txt`.
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
    tables: Iterable[Path], count: int, known: Iterable[str]
) -> tuple[list[Listed], str]:
    """The labelled images of one split and the list that names them; none if no list fits.

    A list fits if it names each of the `count` images once, and only the classes in `known`.
    """
    classes = frozenset(known)
    for path in tables:
        try:
            data = open_table(path)
        except LoupeError:
            continue
        samples, reader = data.samples, data.reader
        fits = not samples.is_multi_label and set(samples.class_names) <= classes
        if not fits or len(samples) != count or not isinstance(reader, FileReader):
            continue
        names = [os.path.normpath(reader.name(row)) for row in range(len(samples))]
        if any(name.startswith("..") or Path(name).is_absolute() for name in names):
            continue
        labels = [samples.class_names[label] for label in samples.labels.tolist()]
        facts = [file_facts(os.path.join(reader.root, name)) for name in names]  # noqa: PTH118
        return list(zip(names, labels, facts, strict=True)), path.name
    return [], ""
