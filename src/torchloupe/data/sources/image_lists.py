"""Tables whose cells each list several images: `17660ef 92b6290 cd41bf9`, `["1.jpg", "2.jpg"]`."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.sources.image_files import ImageFiles
from torchloupe.data.sources.image_folders import Spread
from torchloupe.errors import printable
from torchloupe.units import plural

_LOOKED_AT = 20
_SIGNS = (" ", ";", "|", ",")


def spread_lists(files: ImageFiles, names: NDArray[Any]) -> Spread | None:
    """The images of all rows where cells `names` [N] list several files; None where they do not."""
    cells = names.tolist()
    some = cells[:: max(1, len(cells) // _LOOKED_AT)][:_LOOKED_AT]
    sign = next((s for s in ("[", *_SIGNS) if _are_lists(files, some, s)), "")
    if not sign:
        return None
    listed = [_cut(cell, sign) for cell in cells]
    rows = np.repeat(np.arange(len(cells)), [len(found) for found in listed])
    images = [name for found in listed for name in found]
    return Spread(
        np.array(images, dtype=np.dtypes.StringDType()),
        rows.astype(np.int64),
        rows.astype(np.int64),
        (
            f"cells of {printable(files.table)} list several images: each has the label of its "
            f"row, {plural(len(images), 'image')} in all",
        ),
        are_lists=True,
    )


def _are_lists(files: ImageFiles, cells: Sequence[str], sign: str) -> bool:
    """Whether cells are cut by `sign` into names for most of which there are files."""
    listed = [_cut(cell, sign) for cell in cells]
    if max(map(len, listed), default=0) < 2 or not all(listed):
        return False
    if files.share_of(np.array(cells, dtype=np.dtypes.StringDType())) > 0.5:
        return False  # names with a space or a comma in them
    parts = [name for found in listed for name in found[:3]]
    return files.share_of(np.array(parts, dtype=np.dtypes.StringDType())) > 0.5


def _cut(cell: str, sign: str) -> list[str]:
    if sign != "[":
        return [word.strip() for word in cell.split(sign) if word.strip()]
    try:
        found = json.loads(cell.replace("'", '"')) if cell.startswith("[") else None
    except ValueError:
        return []
    return [str(name) for name in found] if isinstance(found, list) else []
