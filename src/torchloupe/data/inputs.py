"""Images as people hand them over: paths, folders, pictures, arrays, bytes, and lists of these."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from torchloupe.data.image.formats import names_an_image
from torchloupe.errors import DataError, did_you_mean, printable


def list_images(images: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """(name, image) of each image in `images`, folders and lists opened up.

    Raises DataError for a path that is not there.
    """
    for number, image in enumerate(images):
        if isinstance(image, (list, tuple)):
            yield from list_images(image)
        elif isinstance(image, (str, Path)):
            yield from _list_path(Path(image))
        elif isinstance(image, Image.Image):
            yield (
                f"image {number}",
                np.asarray(image if image.mode == "L" else image.convert("RGB")),
            )
        elif isinstance(image, torch.Tensor):
            yield f"image {number}", image.detach().cpu().numpy()
        else:
            yield f"image {number}", image


def _list_path(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
            if not hidden and file.is_file() and names_an_image(str(file)):
                yield str(file), file
    elif path.exists():
        yield str(path), path
    else:
        raise DataError(f"there is no file {printable(path)}", _nearest(path))


def _nearest(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f"the folder {printable(path.parent)} is not there either"
    return did_you_mean(path.name, names, otherwise="check the spelling")
