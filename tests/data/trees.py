"""Folders of small files for the tests of sources, and the errors that opening them raises."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from torchloupe.data.sources import open_data
from torchloupe.errors import LoupeError

IMAGES = (".png", ".jpg", ".JPG")


def plant(folder, *names):
    """Write an image for each name that ends like one, else a short text."""
    for number, name in enumerate(names):
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(IMAGES):
            with path.open("wb") as file:
                Image.new("L", (3, 2), number % 256).save(file, "PNG")
        else:
            path.write_text("x")
    return Path(folder)


def duplicate(folder, copy, *names):
    """Copy the folders of these names, which lie in `folder`, into `copy` beside them."""
    for name in names:
        shutil.copytree(Path(folder, name), Path(folder, copy, name))


def write(folder, name, *lines):
    """Write a text of these lines."""
    path = Path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def fail(source, **options):
    """The error that opening `source` raises."""
    with pytest.raises(LoupeError) as caught:
        open_data(source, **options)
    return caught.value


def ids(data):
    return data.samples.ids.tolist()


def labels(data):
    """The class names of all samples, in order; for several labels joined by +."""
    names = data.samples.class_names
    if data.samples.is_multi_label:
        rows = data.samples.labels.tolist()
        return ["+".join(n for n, x in zip(names, row, strict=True) if x) for row in rows]
    return [names[number] for number in data.samples.labels.tolist()]
